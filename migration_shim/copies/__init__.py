"""Copies: what accepted submissions are still owed on the other system, written by a worker after the answer."""
