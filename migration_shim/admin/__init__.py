"""Django's admin of the app: its records, to read, and the dashboard, where a permitted operator steps a course."""

from . import dashboard, records  # noqa: F401  (Django looks here for what they register)
