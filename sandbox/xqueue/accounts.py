"""Login, logout and status (XQueue: submission_queue/views.py)."""

from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from sandbox.xqueue.protocol import reply


@csrf_exempt
def log_in(request: HttpRequest) -> HttpResponse:
    """Log in with the form fields username and password; every outcome has status 200."""
    if request.method != "POST":
        # What a client sees that was redirected here because its session is gone.
        return reply(False, "login_required")
    if "password" not in request.POST:
        return reply(False, "Insufficient login info")
    # XQueue looks for the password only: a form without a user name is its error 500.
    user = authenticate(username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return reply(False, "Incorrect login credentials")
    login(request, user)
    return reply(True, "Logged in")


@csrf_exempt
def log_out(request: HttpRequest) -> HttpResponse:
    """End the session, if there is one."""
    logout(request)
    return reply(True, "Goodbye")


def status(request: HttpRequest) -> HttpResponse:
    """Say that the service answers."""
    return reply(True, "OK")
