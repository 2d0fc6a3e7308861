"""Celery for the LMS stand-in, set up as lms/celery.py does it: settings from Django, tasks from every app."""

from celery import Celery

app = Celery("sandbox.lms")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
