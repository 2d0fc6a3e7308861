"""
The types of the documents that commands print, a module each. docs/generate.py makes the JSON Schema files from them.

Nothing is imported here: who needs one document loads no other.
"""
