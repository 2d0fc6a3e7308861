"""The page of a divergence and of a ledger entry: both sides, who acts, and nothing that could post a grade."""

import json

import pytest
from django.db import OperationalError
from django.urls import reverse
from submissions.models import ExternalGraderDetail

from migration_shim.admin import records_context
from migration_shim.core.remedies import REMEDIES
from migration_shim.models import Divergence, LedgerEntry, PhaseChange
from migration_shim.reconcile import keyed_hash
from migration_shim.reports import collect
from tests.admin.reading import Page
from tests.admin.test_dashboard import somebody
from tests.admin.test_policy import HANDLER, directives
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
MARKUP = "<script>alert(1)</script>\x1b[31m{{ 7 }}"


def reply(words, right):
    return json.dumps({"correct": right, "score": int(right), "msg": words})


@pytest.fixture
def entry():
    """The entry of a submission on which the graders do not agree."""
    rows.in_phase("shadow")
    row = rows.legacy_row(7, answer="a private answer")
    rows.backfill()
    rows.change([row], **rows.graded(reply("legacy's words", True)))
    rows.grade_target(reply("the target's words", False))
    rows.reconcile()
    return LedgerEntry.objects.get()


def page_of(client, row):
    answer = client.get(reverse("admin:migration_shim_divergence_change", args=[row.pk]))
    assert answer.status_code == 200
    return answer, Page(answer.content.decode())


def entry_url(entry):
    return reverse("admin:migration_shim_entry", args=[entry.pk])


def score(entry):
    return Divergence.objects.get(entry=entry, klass="score")


@pytest.mark.by_hand
def test_both_sides_stand_side_by_side_and_what_differs_is_marked_in_words(entry):
    LedgerEntry.objects.update(learner_said="comparable", learner_correct=True, learner_score=1.0)
    _, page = page_of(somebody("grace", "view_divergence", "view_coursephase"), score(entry))
    cells = {}
    for tag, attributes, text in page.elements:
        if tag == "th" and attributes.get("scope") == "row":
            cells[name := " ".join("".join(text).split())] = []
        elif tag == "td":
            cells[name].append(" ".join("".join(text).split()))
    assert cells["Correct ≠ differs"] == ["yes", "no", "yes"]
    assert cells["Score ≠ differs"] == ["1", "0", "1"]
    assert cells["State"] == ["graded", "graded", "has a grade of this submission"]
    remedy = REMEDIES["score"]
    for text in (remedy.means, remedy.todo, "Grader team", keyed_hash(entry.learner), str(entry.legacy_id)):
        assert text in page.text
    links = {attributes["href"] for attributes, _ in page.all("a")}
    other = Divergence.objects.get(entry=entry, klass="correctness")
    assert entry_url(entry) in links
    assert reverse("admin:migration_shim_divergence_change", args=[other.pk]) in links


def test_the_list_links_to_the_entry_and_the_entry_to_its_divergences(entry):
    client = somebody("grace", "view_divergence")
    listed = Page(client.get(reverse("admin:migration_shim_divergence_changelist")).content.decode())
    assert (entry_url(entry), str(entry.pk)) in {(one["href"], text) for one, text in listed.all("a") if "href" in one}
    page = Page(client.get(entry_url(entry)).content.decode())
    links = {attributes["href"] for attributes, _ in page.all("a")}
    for row in Divergence.objects.all():
        assert reverse("admin:migration_shim_divergence_change", args=[row.pk]) in links


def test_replies_are_for_those_who_may_view_the_ledger(entry):
    words = ("legacy's words", "the target's words")
    for client, may in (
        (somebody("grace", "view_divergence"), False),
        (somebody("ada", "view_divergence", "view_ledgerentry"), True),
    ):
        for url in (entry_url(entry), reverse("admin:migration_shim_divergence_change", args=[score(entry).pk])):
            text = Page(client.get(url).content.decode()).text
            assert [word in text for word in words] == [may, may]


def test_nothing_of_the_residue_is_on_any_page(entry):
    client = somebody("ada", "view_divergence", "view_ledgerentry")
    header = json.loads(entry.raw_header)
    never = [header["lms_key"], header["lms_callback_url"], "lms_key", entry.learner, rows.PAYLOAD, "a private answer"]
    for url in (entry_url(entry), reverse("admin:migration_shim_divergence_change", args=[score(entry).pk])):
        html = client.get(url).content.decode()
        assert [secret for secret in never if secret in html or secret in Page(html).text] == []


def test_who_may_not_see_divergences_sees_none(entry):
    url = reverse("admin:migration_shim_divergence_change", args=[score(entry).pk])
    for permissions in ((), ("view_coursephase",), ("view_ledgerentry",)):
        client = somebody(f"eve{len(permissions)}{''.join(permissions)}", *permissions)
        assert client.get(url).status_code == 403
        assert client.get(entry_url(entry)).status_code == 403
    assert somebody("learner", "view_divergence", staff=False).get(entry_url(entry)).status_code == 302


def test_the_pages_only_read(entry):
    client = somebody("ada", "view_divergence", "change_divergence", "delete_divergence", "view_ledgerentry")
    url = reverse("admin:migration_shim_divergence_change", args=[score(entry).pk])
    assert client.post(url, {"what": "x"}).status_code == 403
    assert client.post(entry_url(entry), {}).status_code == 405
    assert not PhaseChange.objects.filter(evidence__has_key="looked_up").exists()


def test_what_is_not_there_is_not_found(entry):
    client = somebody("grace", "view_divergence")
    assert client.get(reverse("admin:migration_shim_entry", args=[entry.pk + 1])).status_code == 404
    assert client.get(reverse("admin:migration_shim_divergence_change", args=[10**6])).status_code == 404


@pytest.mark.by_hand
def test_hostile_text_shows_as_text_and_the_policy_lets_nothing_run(entry):
    Divergence.objects.update(what=MARKUP)
    LedgerEntry.objects.update(item_id=MARKUP, queue_name=MARKUP[:100], target_leg="failed", target_reason=MARKUP[:64])
    ExternalGraderDetail.objects.update(grader_reply=reply(MARKUP, False))
    client = somebody("ada", "view_divergence", "view_ledgerentry")
    for url in (entry_url(entry), reverse("admin:migration_shim_divergence_change", args=[score(entry).pk])):
        answer = client.get(url)
        html = answer.content.decode()
        page = Page(html)
        assert "<script>alert" not in html
        assert "\x1b" not in html
        assert "\\x1b[31m{{ 7 }}" in page.text
        policy = directives(answer)
        assert policy["default-src"] == ["'none'"] and policy["script-src"] == ["'self'"]
        for attributes, _ in page.all("style"):
            assert f"'nonce-{attributes['nonce']}'" in policy["style-src"]
        assert not any("style" in attributes for _, attributes, _ in page.elements)
        assert not HANDLER.search(html.replace("onerror", ""))


def test_a_long_reply_is_cut(entry, monkeypatch):
    monkeypatch.setattr(records_context, "REPLY_LIMIT", 5)
    client = somebody("ada", "view_divergence", "view_ledgerentry")
    texts = [text for _, text in Page(client.get(entry_url(entry)).content.decode()).all("pre")]
    assert [text.startswith(("legac …", "the t …")) for text in texts] == [True, True]
    assert "characters more" in texts[0]


def test_the_page_is_there_while_legacy_is_away(entry, monkeypatch):
    def away(ids):
        raise OperationalError('(2002, "Can\'t connect")')

    monkeypatch.setattr(collect.legacy_rows, "by_id", away)
    client = somebody("ada", "view_divergence", "view_ledgerentry")
    _, page = page_of(client, score(entry))
    assert "XQueue's database does not answer" in page.text
    assert "Score ≠ differs" in page.text


def test_a_course_without_an_lms_phase_is_linked(entry):
    _, page = page_of(somebody("grace", "view_divergence"), score(entry))
    [link] = [attributes["href"] for attributes, text in page.all("a") if text == COURSE]
    assert link == f"{reverse('admin:migration_shim_course')}?course=course-v1%3AExU%2BPY1%2B2026"
