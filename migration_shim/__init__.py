"""Move courses from the XQueue service to edx-submissions, with no lost submission and a way back at every step."""

__version__ = "0.1.0"
