"""WSGI entry of the LMS stand-in."""

import os

from django.core.wsgi import get_wsgi_application

from sandbox.lms import worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sandbox.lms.settings")

application = get_wsgi_application()
worker.start()
