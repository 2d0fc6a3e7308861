"""WSGI entry of the LMS stand-in."""

import os

from django.core.wsgi import get_wsgi_application

from sandbox.lms import worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sandbox.lms.settings")

application = get_wsgi_application()
# Only in a server of the sandbox: whoever else imports this, as a test's live server does, may want no worker.
if os.environ.get(worker.VARIABLE) == "1":
    worker.start()
