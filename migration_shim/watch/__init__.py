"""The watch: rounds over all courses that finish, compare, guard, repair and purge."""
