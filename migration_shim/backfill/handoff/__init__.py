"""Mode handoff: in-flight rows of legacy go over to the target."""
