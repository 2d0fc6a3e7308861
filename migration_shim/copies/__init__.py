"""What accepted submissions are still owed: the copies on the other system, written by a worker."""
