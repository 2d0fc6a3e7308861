"""Outcome against outcome: which entries to compare, both sides of them, and the results."""
