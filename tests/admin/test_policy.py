"""The Content-Security-Policy of the dashboard's pages, and that the pages fit it."""

import re

import pytest

from tests.admin.reading import Page
from tests.admin.test_dashboard import HERE, OVERVIEW, PLAN, STEP, form, somebody
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
HANDLER = re.compile(r"\son[a-z]+\s*=", re.IGNORECASE)


def directives(answer):
    """The policy, by directive."""
    policy = answer.headers["Content-Security-Policy"]
    return {name: rest.split() for name, _, rest in (part.partition(" ") for part in policy.split("; "))}


def pages():
    """Every kind of page, for somebody who may step, and those of what was refused."""
    operator = somebody("ada", "view_coursephase", "step_course")
    rows.in_phase("shadow")
    yield operator.get(OVERVIEW)
    yield operator.get(HERE)
    yield operator.post(PLAN, form())
    yield operator.post(STEP, form(expected="shadow"))
    yield operator.get(f"{HERE}x ")
    yield operator.get(OVERVIEW.rstrip("/") + "/course/?course=no")


def test_every_page_has_a_policy_that_lets_nothing_run_that_is_not_a_file_of_the_admin():
    nonces = []
    for answer in pages():
        found = directives(answer)
        assert found["default-src"] == ["'none'"] and found["script-src"] == ["'self'"]
        assert found["form-action"] == ["'self'"] and found["base-uri"] == ["'none'"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        page = Page(answer.content.decode())
        for attributes, text in page.all("script"):
            assert attributes["src"].startswith("/static/") and not text.strip()
        for attributes, _ in page.all("style"):
            assert f"'nonce-{attributes['nonce']}'" in found["style-src"]
            nonces.append(attributes["nonce"])
        for attributes, _ in page.all("link"):
            assert attributes["href"].startswith("/static/")
        assert not any(set(attributes) & {"style", "onclick", "onload"} for _, attributes, _ in page.elements)
        assert not HANDLER.search(re.sub(r"<style.*?</style>", "", answer.content.decode(), flags=re.DOTALL))
        for attributes, _ in page.all("form"):
            assert attributes["action"].startswith("/")
    assert len(nonces) == len(set(nonces)) == 6  # one a page, and no two the same


def test_files_of_another_host_are_named(settings):
    settings.STATIC_URL = "https://cdn.example.edu/static/"
    from django.contrib.staticfiles.storage import staticfiles_storage

    staticfiles_storage.base_url = settings.STATIC_URL
    try:
        found = directives(somebody("grace", "view_coursephase").get(OVERVIEW))
    finally:
        staticfiles_storage.base_url = "/static/"
    for name in ("script-src", "style-src", "img-src", "font-src"):
        assert "https://cdn.example.edu" in found[name]
