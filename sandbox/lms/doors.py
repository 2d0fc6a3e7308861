"""What the LMS stand-in submits with: the app's Python door, or the platform's own client code over HTTP."""

from typing import Any

from django.conf import settings
from requests.auth import HTTPBasicAuth

from sandbox.lms.blocks import Block

if settings.SANDBOX_DOOR == "http":
    # From the package xblocks-contrib, which only this needs. Here and not below: it takes seconds, and no learner is
    # to wait for it.
    from xblocks_contrib.problem.capa.xqueue_interface import XQueueInterface


def queue_interface(block: Block) -> Any:
    """Return what CAPA calls ``send_to_queue`` on, made for each request as the platform makes it (XQueueService)."""
    if settings.SANDBOX_DOOR == "python":
        from migration_shim.api import queue_interface as python_door

        return python_door(block)
    platform = settings.XQUEUE_INTERFACE
    basic = HTTPBasicAuth(*platform["basic_auth"]) if platform["basic_auth"] else None
    return XQueueInterface(platform["url"], platform["django_auth"], basic, block=block)
