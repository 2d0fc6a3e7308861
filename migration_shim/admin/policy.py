"""The Content-Security-Policy of the pages in the admin."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.templatetags.static import static


def policy(nonce: str) -> str:
    """
    Return the Content-Security-Policy of a page: the admin's own files, and the page's one style element by its nonce.

    Text that escaping has missed can then neither run nor be sent anywhere.
    """
    parts = urlsplit(static(""))
    files = f"'self' {parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {files}",
            f"style-src {files} 'nonce-{nonce}'",
            f"img-src {files} data:",
            f"font-src {files}",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'self'",
        )
    )
