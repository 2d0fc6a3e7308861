"""LMS stand-in: learners, problem states and the LMS's own receivers, with migration_shim installed as in an LMS."""

# Imported with the project, so that tasks of every app find this Celery app and not Celery's default one.
from sandbox.lms.celery import app as celery_app

__all__ = ["celery_app"]
