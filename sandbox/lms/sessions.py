"""One session per user, as the platform's PREVENT_CONCURRENT_LOGINS makes it."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.db import SessionStore
from django.dispatch import receiver
from django.http import HttpRequest

from sandbox.lms.models import LoginSession


@receiver(user_logged_in)
def end_other_session(sender: type, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """
    End the session that the user had before this login (edx-platform: common/djangoapps/student/models/user.py).

    A grader with several connections under one account evicts itself: that login storm is why it matters here.
    """
    if not settings.PREVENT_CONCURRENT_LOGINS or not isinstance(user, get_user_model()):
        return
    if request.session.session_key is None:
        request.session.save()
    previous = LoginSession.objects.filter(user=user).values_list("session_key", flat=True).first()
    LoginSession.objects.update_or_create(user=user, defaults={"session_key": request.session.session_key})
    if previous and previous != request.session.session_key:
        SessionStore(session_key=previous).delete()
