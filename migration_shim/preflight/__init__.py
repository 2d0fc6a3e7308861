"""What would break on the target, found before anything is written."""
