"""Settings of the XQueue stand-in (XQueue: xqueue/settings.py and the settings the samples were captured with)."""

import os

from sandbox.databases import LEGACY_MEDIA, legacy_database

DEBUG = False
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "sandbox-xqueue-not-a-secret"  # the stand-in listens on loopback only
ROOT_URLCONF = "sandbox.xqueue.urls"
WSGI_APPLICATION = "sandbox.xqueue.wsgi.application"
LOGIN_URL = "/xqueue/login/"
TIME_ZONE = "UTC"
USE_TZ = True

DATABASES = {"default": legacy_database()}
# XQueue runs with ATOMIC_REQUESTS. On SQLite a transaction takes the only write lock when it begins, which would turn
# every request into a locked one: the races of get_submission, which are the point of this stand-in, could not happen.
# put_result and submit say for themselves what they need, on any database.
DATABASES["default"]["ATOMIC_REQUESTS"] = DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "sandbox.xqueue.apps.XQueueConfig",
]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick logins; the passwords are published

MEDIA_ROOT = str(LEGACY_MEDIA)
FILES_HOST = "files.example.edu"
MEDIA_URL = f"https://{FILES_HOST}/xqueue/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

# Queue name -> None: a queue that graders pull from. (XQueue puts a URL here for push queues, which are absent.)
# The captured queues, each with the queue of its reverse shadows.
_CAPTURED = ("exu-py1", "ExampleUniversity-DataStructures201", "exu-alg2", "exu-misc")
_QUEUES = os.environ.get(
    "SANDBOX_XQUEUES", ",".join(name + suffix for name in _CAPTURED for suffix in ("", ".reverse"))
)
XQUEUES = {name.strip(): None for name in _QUEUES.split(",") if name.strip()}

# Seconds for each post of a result to the LMS.
REQUESTS_TIMEOUT = float(os.environ.get("SANDBOX_REQUESTS_TIMEOUT", "5"))
MAX_NUMBER_OF_FAILURES = 3  # refused deliveries after which the next one retires a submission
SUBMISSION_PROCESSING_DELAY = float(os.environ.get("SANDBOX_PROCESSING_DELAY", "1"))  # minutes

# Widens the gap between the unlocked read and the save in get_submission, so that a test can step into it. Seconds.
PULL_STALL_SECONDS = float(os.environ.get("SANDBOX_PULL_STALL_SECONDS", "0"))

# The account of the LMS and of the graders: XQueue knows no groups and no permissions.
LMS_USERNAME = os.environ.get("MIGRATION_SHIM_XQUEUE_USER", "lms")
LMS_PASSWORD = os.environ.get("MIGRATION_SHIM_XQUEUE_PASSWORD", "lms-password")
