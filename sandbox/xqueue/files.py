"""Serves stored uploads under the host of MEDIA_URL, as the object store of a real XQueue does."""

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest


def stored_file(request: HttpRequest, queue_name: str, key: str) -> FileResponse:
    """Answer with the file ``<queue_name>/<key>``; on XQueue's own host there is no such page."""
    name = f"{queue_name}/{key}"
    if request.get_host() != settings.FILES_HOST or not default_storage.exists(name):
        raise Http404
    return FileResponse(default_storage.open(name), content_type="application/octet-stream")
