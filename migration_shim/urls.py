"""The app's URLs, mounted under one prefix (``/migration_shim/`` by default)."""

from collections.abc import Callable

from django.db import transaction
from django.urls import path

from . import views
from .target.seam import WatcherSeam

app_name = "migration_shim"


def seam(method: str, action: str) -> Callable:
    """One action of the watcher seam; it opens its own transactions, whatever ATOMIC_REQUESTS says."""
    return transaction.non_atomic_requests(WatcherSeam.as_view({method: action}))


urlpatterns = [
    path("xqueue/get_submission/", seam("get", "get_submission"), name="get_submission"),
    path("xqueue/put_result/", seam("post", "put_result"), name="put_result"),
    path("xqueue/get_queuelen/", seam("get", "get_queuelen"), name="get_queuelen"),
    path("xqueue/logout/", seam("post", "logout"), name="logout"),
    path("xqueue/status/", transaction.non_atomic_requests(WatcherSeam.as_view({"get": "status", "post": "status"}))),
    path("xqueue/login/", views.login, name="login"),
    path("xqueue/submit/", views.submit, name="submit"),
    path("sink/<str:token>/", views.sink, name="sink"),
    path("healthz", views.healthz, name="healthz"),
]
