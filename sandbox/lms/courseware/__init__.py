"""The one table of the platform's courseware app that external grading depends on."""
