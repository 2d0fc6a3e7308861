"""The preflight: find what would break on the target, before anything is written."""
