"""How long work is led: when it stops or waits, how far it is, and how it is spread over workers."""
