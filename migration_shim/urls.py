"""The app's URLs, mounted under one prefix (``/migration_shim/`` by default)."""

from collections.abc import Callable

from django.db import transaction
from django.urls import path
from django.views.decorators.debug import sensitive_post_parameters

from .doors import views
from .target.seam import WatcherSeam

app_name = "migration_shim"


def seam(action: str, *methods: str) -> Callable:
    """
    Return the view of one action of the watcher seam.

    The view opens its own transactions, whatever ``ATOMIC_REQUESTS`` says, and error reports hide what was posted.

    Args:
        action: the method of ``WatcherSeam``.
        methods: the HTTP methods that it takes, in lower case.
    """
    view = sensitive_post_parameters()(WatcherSeam.as_view(dict.fromkeys(methods, action)))
    return transaction.non_atomic_requests(view)


urlpatterns = [
    path("xqueue/get_submission/", seam("get_submission", "get"), name="get_submission"),
    path("xqueue/put_result/", seam("put_result", "post"), name="put_result"),
    path("xqueue/get_queuelen/", seam("get_queuelen", "get"), name="get_queuelen"),
    path("xqueue/logout/", seam("logout", "post"), name="logout"),
    path("xqueue/status/", seam("status", "get", "post"), name="status"),
    path("xqueue/login/", views.login, name="login"),
    path("xqueue/submit/", views.submit, name="submit"),
    path("sink/<str:token>/", views.sink, name="sink"),
    path("healthz", views.healthz, name="healthz"),
]
