"""Django's admin of the app: its records, to read, and the dashboard, where a permitted operator steps a course."""

from . import records  # noqa: F401  (registers the pages: Django looks for them here)
