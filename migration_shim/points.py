"""Where ``from_student_modules`` once was: a site may have written this path into its ``POINTS_RESOLVER``."""

from .lms.points import from_student_modules

__all__ = ("from_student_modules",)
