"""Comparison of the two systems: which entries to compare, both sides of each, and the results."""
