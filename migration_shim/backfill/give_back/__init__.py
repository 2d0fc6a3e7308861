"""The mode ``return``, a keyword in Python: in-flight rows of the target go back to legacy."""
