"""The chain of a log: whatever is done to its entries shows, and a log that nobody touched is whole."""

import dataclasses
import hashlib
import itertools
import json

import pytest

from migration_shim.core.hash_chain import START, Head, Link, breaks, digest, holds


def said(number):
    return {"from": "legacy", "to": "shadow", "by": "ada", "reason": f"r{number} é", "evidence": {"n": number}}


def log(number, older=0):
    """A log of so many chained entries behind some that are older than the chain, with its head."""
    links = [Link(id=place, position=None, previous=None, digest=None, said=said(place)) for place in range(older)]
    previous = START
    for place in range(older + 1, older + number + 1):
        own = digest(previous, place, said(place))
        links.append(Link(id=10 * place, position=place, previous=previous, digest=own, said=said(place)))
        previous = own
    return links, Head(length=older + number, digest=previous) if number else None


def test_the_digest_by_another_way():
    text = f'["{START}",3,{{"a":{{"b":1.5}},"reason":"\\u00e9"}}]'
    assert digest(START, 3, {"reason": "é", "a": {"b": 1.5}}) == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(text)[2] == {"reason": "é", "a": {"b": 1.5}}


@pytest.mark.parametrize("older", [0, 1, 3])
@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_a_log_that_nobody_touched_is_whole(number, older):
    links, head = log(number, older)
    assert list(breaks(links, head)) == []


@pytest.mark.parametrize("older", [0, 2])
@pytest.mark.parametrize("field", ["from", "to", "by", "reason", "evidence"])
@pytest.mark.parametrize("place", range(4))
def test_an_edited_entry_shows(field, place, older):
    links, head = log(4, older)
    old = links[older + place]
    links[older + place] = dataclasses.replace(old, said={**old.said, field: "other"})
    assert [what for what in breaks(links, head) if f"entry {old.id} " in what]


@pytest.mark.parametrize("place", range(4))
def test_an_entry_edited_with_a_digest_that_fits_shows_in_the_next_or_in_the_head(place):
    links, head = log(4)
    new = {**links[place].said, "by": "eve"}
    own = digest(links[place].previous, links[place].position, new)
    links[place] = dataclasses.replace(links[place], said=new, digest=own)
    assert list(breaks(links, head))


@pytest.mark.parametrize("older", [0, 2])
@pytest.mark.parametrize("gone", [pick for size in (1, 2, 3) for pick in itertools.combinations(range(4), size)])
def test_removed_entries_show_the_last_as_well(gone, older):
    links, head = log(4, older)
    left = [link for place, link in enumerate(links) if place - older not in gone]
    assert list(breaks(left, head))


def test_a_log_removed_as_a_whole_shows():
    _, head = log(3)
    assert list(breaks([], head))
    assert list(breaks(log(3)[0], None))


@pytest.mark.parametrize("order", [order for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)])
def test_every_other_order_shows(order):
    """As it is when ids were exchanged, and as it is when all but the ids were."""
    links, head = log(4)
    assert list(breaks([links[place] for place in order], head))
    ids = [link.id for link in links]
    moved = [dataclasses.replace(links[place], id=row) for place, row in zip(order, ids, strict=True)]
    assert list(breaks(moved, head))


@pytest.mark.parametrize("place", range(5))
def test_an_added_entry_shows(place):
    links, head = log(4)
    extra = [Link(id=5, position=None, previous=None, digest=None, said=said(9))]
    extra.append(dataclasses.replace(links[min(place, 3)], id=6))
    for one in extra:
        assert list(breaks([*links[:place], one, *links[place:]], head)), one


@pytest.mark.parametrize("blanked", range(1, 5))
def test_entries_cannot_be_made_older_than_the_chain(blanked):
    links, head = log(4)
    blank = {"position": None, "previous": None, "digest": None}
    links[:blanked] = [dataclasses.replace(link, **blank) for link in links[:blanked]]
    assert list(breaks(links, head))


def test_older_entries_cannot_be_added_or_removed_once_there_is_a_chain():
    links, head = log(2, older=2)
    assert list(breaks(links[1:], head))
    assert list(breaks([links[0], *links], head))


def test_a_log_made_anew_as_a_whole_shows_only_against_a_head_noted_outside():
    links, head = log(3)
    anew, new_head = log(2)
    assert list(breaks(anew, new_head)) == []
    assert holds(links, head)
    assert not holds(anew, head)
    assert holds(links, log(2)[1])
