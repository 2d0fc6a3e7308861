"""LMS stand-in: learners, problem states and the LMS's own receivers, with migration_shim installed as in an LMS."""
