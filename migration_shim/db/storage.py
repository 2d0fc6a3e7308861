"""The errors that storages raise, whichever backend of django-storages stands behind them."""

from __future__ import annotations

import sys

from django.core.exceptions import SuspiciousOperation

#: The base classes of the errors of django-storages' backends, none of which is an OSError.
_BACKEND_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("boto3.exceptions", "Boto3Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("azure.core.exceptions", "AzureError"),
)


def storage_errors() -> tuple[type[Exception], ...]:
    """
    Return the errors of a storage that fails, for an ``except`` clause, which evaluates this only when something was
    raised.

    A backend that has raised is imported already. So nothing is imported here, and other backends need no entry.
    """
    loaded = ((sys.modules.get(module), name) for module, name in _BACKEND_ERRORS)
    # A ValueError is Python's own word for a name that no file can have: with a NUL in it, for one.
    known = (OSError, SuspiciousOperation, ValueError)
    return (*known, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))
