"""Everything that knows XQueue: its table (through the ``xqueue`` alias) and its HTTP API."""
