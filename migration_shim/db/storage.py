"""What storages raise, whichever backend of django-storages stands behind them."""

from __future__ import annotations

import sys

from django.core.exceptions import SuspiciousOperation

#: The roots of what the backends of django-storages raise: none of them is an OSError.
_BACKEND_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("boto3.exceptions", "Boto3Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("azure.core.exceptions", "AzureError"),
)


def storage_errors() -> tuple[type[Exception], ...]:
    """
    What a storage may raise when it does not do as it is told; for an ``except``, which asks when something was raised.

    A backend that has raised is imported: what is not imported needs no entry, and nothing is imported for its sake.
    """
    loaded = ((sys.modules.get(module), name) for module, name in _BACKEND_ERRORS)
    # A ValueError is Python's own word for a name that no file can have: with a NUL in it, for one.
    known = (OSError, SuspiciousOperation, ValueError)
    return (*known, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))
