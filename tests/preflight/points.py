"""Points resolvers for the tests."""


def ten(course_id, item_id):
    """Every problem is worth 10 points."""
    return 10
