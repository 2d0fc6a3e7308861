"""One round over all courses: finish, compare, guard, repair, purge."""
