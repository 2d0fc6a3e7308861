"""The platform's loggers. Nothing is imported here: a logging configuration is read before Django is set up."""

from __future__ import annotations

#: Loggers below this name tell of grades, those of a stored external result among them.
GRADES = "lms.djangoapps.grades"
