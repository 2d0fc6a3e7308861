"""Dropping what is not needed any more, and forgetting learners."""
