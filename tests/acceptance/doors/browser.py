"""Learners at browsers of their own: logged in at an LMS in a process of its own, with its cookies and forms."""

import time
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password

from sandbox.network import proxied_session
from tests.acceptance.doors.problems import ROOT, SQUARE
from tests.builders.rows import COURSE, PAYLOAD, QUEUE

PATIENCE = 90


class Browser:
    """One learner, logged in."""

    def __init__(self, server, name):
        self.session = proxied_session({"courses.example.edu": server.address})
        self.session.headers["Referer"] = f"{ROOT}/login"
        # The server may close an idle connection as it is used again; a browser would try once more.
        self.session.headers["Connection"] = "close"
        self.session.get(f"{ROOT}/login")
        form = {"username": name, "password": "pw", "csrfmiddlewaretoken": self.session.cookies["csrftoken"]}
        assert self.session.post(f"{ROOT}/login", data=form, allow_redirects=False).status_code == 302

    def submit(self, problem):
        """Submit an answer to a problem; (what the learner is told, seconds)."""
        form = {"student_response": SQUARE, "grader_payload": PAYLOAD, "queue_name": QUEUE}
        form["csrfmiddlewaretoken"] = self.session.cookies["csrftoken"]
        began = time.monotonic()
        answer = self.session.post(f"{ROOT}/courses/{COURSE}/submit/{problem}", data=form, timeout=PATIENCE)
        return answer.json()["success"], time.monotonic() - began


def logged_in(server, names, at_once):
    """Learners of these names, with accounts that are made for them; so many log in at once."""
    password, model = make_password("pw"), get_user_model()
    model.objects.bulk_create(model(username=name, password=password) for name in names)
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda name: Browser(server, name), names))
