"""Settings of the LMS stand-in: what an LMS in production has, as far as external grading can feel it.

Everything a platform does that has broken external grading somewhere is on: ATOMIC_REQUESTS, CSRF protection, Secure
cookies of a parent domain behind a TLS-terminating proxy, one session per user, DEBUG off. Only the password hasher,
the secret key and the place of the files are a sandbox's.
"""

import json
import os
import sys
from pathlib import Path

from migration_shim.settings.production import plugin_settings
from sandbox.databases import SANDBOX_DIR, legacy_database, target_database

# What the app finds in an LMS by its name: openedx.core.djangoapps, as far as it asks it.
sys.path.append(str(Path(__file__).parent / "platform"))

LMS_HOST = "courses.example.edu"
LMS_ROOT_URL = f"https://{LMS_HOST}"

DEBUG = False
SECRET_KEY = "sandbox-only: this LMS listens on loopback and holds invented learners"
ALLOWED_HOSTS = [LMS_HOST, "127.0.0.1", "localhost"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "sandbox.lms.urls"
WSGI_APPLICATION = "sandbox.lms.wsgi.application"
# The platform still makes 32 bit keys by default: an app that needs more says so in its own AppConfig.
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "waffle",
    "config_models",
    "submissions",
    "rest_framework",
    # An LMS takes it from the lms.djangoapp entry point; a clone that is not installed has none.
    "migration_shim.apps.MigrationShimConfig",
    "sandbox.lms.courseware.apps.CoursewareConfig",
    "sandbox.lms.student.apps.StudentConfig",
    "sandbox.lms.apps.SandboxLmsConfig",
]

# Where flags are forced: in the platform's own tables, or ("own") in the app's, as on a site that is no LMS.
SANDBOX_FLAGS = os.environ.get("SANDBOX_FLAGS", "platform")
if SANDBOX_FLAGS not in ("platform", "own"):
    raise ValueError(f"SANDBOX_FLAGS must be platform or own, not {SANDBOX_FLAGS!r}")
if SANDBOX_FLAGS == "platform":
    INSTALLED_APPS.append("openedx.core.djangoapps.waffle_utils")

MIDDLEWARE = [
    "edx_django_utils.cache.middleware.RequestCacheMiddleware",
    "sandbox.lms.middleware.RecordCallbacks",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "sandbox.lms.middleware.TrackMiddleware",
    "waffle.middleware.WaffleMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The alias xqueue must not open a transaction in every request: XQueue's tables belong to another service.
DATABASES = {
    "default": {**target_database(), "ATOMIC_REQUESTS": True},
    "xqueue": {**legacy_database(), "ATOMIC_REQUESTS": False},
}

# The proxy in front ends TLS. The cookie domain is the institution's, not the host at which an internal client or a
# load balancer reaches the workers, so a client on http://127.0.0.1 never gets a session.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_DOMAIN = ".example.edu"
CSRF_COOKIE_SECURE = True
# As the platform's feature of this name (its default is on): a new login ends the user's other session.
PREVENT_CONCURRENT_LOGINS = True
# As in the platform: accounts that were never activated are let in, and each view decides.
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
# Thousands of invented learners log in during a demo; the platform's hashers are slow on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Shared between the workers, as memcached is in an LMS.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(SANDBOX_DIR / "cache"),
    }
}

STATIC_URL = "/static/"
MEDIA_ROOT = str(SANDBOX_DIR / "media" / "lms")
MEDIA_URL = f"{LMS_ROOT_URL}/media/"
EDX_SUBMISSIONS = {
    "MEDIA": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": MEDIA_ROOT, "base_url": MEDIA_URL},
    }
}

# Without a broker tasks run in the process that sends them, as soon as it sends them.
CELERY_BROKER_URL = os.environ.get("MIGRATION_SHIM_BROKER_URL", "")
CELERY_TASK_ALWAYS_EAGER = not CELERY_BROKER_URL
CELERY_TASK_IGNORE_RESULT = True

XQUEUE_URL = os.environ.get("MIGRATION_SHIM_XQUEUE_URL", "http://127.0.0.1:18040")
XQUEUE_USER = os.environ.get("MIGRATION_SHIM_XQUEUE_USER", "lms")
XQUEUE_PASSWORD = os.environ.get("MIGRATION_SHIM_XQUEUE_PASSWORD", "lms-password")
# What a submission goes through: "python" is the app's Python door, "http" the platform's own client code, which posts
# to SANDBOX_DOOR_URL: XQueue itself, or the app's HTTP door in a process of its own.
SANDBOX_DOOR = os.environ.get("SANDBOX_DOOR", "python")
if SANDBOX_DOOR not in ("python", "http"):
    raise ValueError(f"SANDBOX_DOOR must be python or http, not {SANDBOX_DOOR!r}")
XQUEUE_INTERFACE = {
    "url": os.environ.get("SANDBOX_DOOR_URL", XQUEUE_URL),
    "basic_auth": None,
    "django_auth": {"username": XQUEUE_USER, "password": XQUEUE_PASSWORD},
    # None as in most installations: callbacks then go to LMS_ROOT_URL.
    "callback_url": None,
}
# Seconds between two submissions of a queued problem; 5 in an LMS.
XQUEUE_WAITTIME_BETWEEN_REQUESTS = float(os.environ.get("SANDBOX_WAITTIME_BETWEEN_REQUESTS", "5"))

# Released platforms up to autumn 2025 have no receiver of EXTERNAL_GRADER_SCORE_SUBMITTED: 0 makes this one such.
SANDBOX_SCORE_RECEIVER = os.environ.get("SANDBOX_SCORE_RECEIVER", "1") != "0"

MIGRATION_SHIM = {
    # Who plays the platform here.
    "SCORE_RECEIVERS": ["sandbox.lms.receivers"],
    "LEGACY_URL": XQUEUE_URL,
    "LEGACY_USERNAME": XQUEUE_USER,
    "LEGACY_PASSWORD": XQUEUE_PASSWORD,
    # Accounts of the HTTP door, as user:password,user:password.
    "SUBMIT_USERS": {
        user: password
        for user, _, password in (
            account.partition(":") for account in filter(None, os.environ.get("SANDBOX_SUBMIT_USERS", "").split(","))
        )
    },
    "LEGACY_STORAGE": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": str(SANDBOX_DIR / "media" / "xqueue"),
            "base_url": "https://files.example.edu/xqueue/",  # XQueue's own, for files of rows that go back to it
        },
    },
    # The app's own default, unless a demo cannot wait for the 449 pairs that it asks for.
    "GATE_THRESHOLD": float(os.environ.get("SANDBOX_GATE_THRESHOLD", "0.01")),
    # Whatever else a drill or a test cannot wait for, as a JSON object.
    **json.loads(os.environ.get("SANDBOX_SHIM_SETTINGS", "{}")),
}

# No monitoring agent runs here; the default backend would warn in every process that it is missing.
OPENEDX_TELEMETRY: list[str] = []

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "tracking": {"class": "logging.FileHandler", "filename": str(SANDBOX_DIR / "tracking.log"), "delay": True},
    },
    "loggers": {"tracking": {"handlers": ["tracking"], "level": "DEBUG", "propagate": False}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

TRACKING_IGNORE_URL_PATTERNS = [r"^/event", r"^/login", r"^/heartbeat", r"^/segmentio/event", r"^/performance"]

# Last, as the platform asks its plugins: what the app itself puts into an LMS's settings.
plugin_settings(sys.modules[__name__])
