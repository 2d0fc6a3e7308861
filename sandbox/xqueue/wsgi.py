"""WSGI entry point of the XQueue stand-in."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "sandbox.xqueue.settings"

application = get_wsgi_application()
