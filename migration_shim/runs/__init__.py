"""How long work is run: its record, when it stops or waits, how far it is, and how it is spread over workers."""
