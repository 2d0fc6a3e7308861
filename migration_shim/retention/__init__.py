"""Purging what is no longer needed, and forgetting retired learners."""
