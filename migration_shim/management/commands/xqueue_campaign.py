"""``xqueue_campaign``: say what is wanted of many courses once; ``xqueue_watch`` brings it about, step by step."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from django.core.management.base import CommandParser

from ...campaign import canary, document, records
from ...core.campaign_plan import Plan
from ...core.data import Document, Phase
from ...core.windows import parse_freeze, parse_length, parse_window
from ...models import Campaign
from .. import selection, several
from ..command import Once, ShimCommand, nonempty_text, operator, phase_among, positive

#: What each sub-command does, for its help.
_HELP = {
    "start": "start a campaign; its courses stay the same until its end",
    "status": "what each course does, or waits for",
    "pause": "take no further step until resume; courses stay where they are",
    "resume": "go on after a pause, or with --course after a course was parked or has failed",
    "change": "change the rules; what is not named stays",
    "stop": "end it; courses stay where they are",
}
_CLEARED = {"window": "windows", "freeze": "freezes", "not-before": "not_before"}


def valid(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Return an argparse type that keeps a text as it is, once ``parse`` has taken it."""

    def checked(value: str) -> str:
        try:
            parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return value.strip()

    return checked


class Command(ShimCommand):
    """Start, watch and change campaigns."""

    help = (
        "Say once what is wanted of many courses. A campaign is only a record of that: xqueue_watch (or Celery beat) "
        "takes the next permitted step of each course, as an operator would, inside the windows and never past a gate."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the sub-commands with their options."""
        below = parser.add_subparsers(dest="do", required=True, metavar="COMMAND", help="what to do; each has a --help")
        parsers = {}
        for name, text in _HELP.items():
            parsers[name] = below.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
            parsers[name].error = self._wrong_usage  # type: ignore[method-assign]  # argparse asks for one
            super().add_arguments(parsers[name])
            parsers[name].add_argument("--name", action=Once, metavar="NAME", help="the campaign")
        self._add_start(parsers["start"])
        parsers["status"].add_argument("--all", action="store_true", help="also those that have ended")
        parsers["resume"].add_argument(
            "--course", type=selection.text, action="append", metavar="ID", help="a course of it; may be repeated"
        )
        self._add_rules(parsers["change"])
        parsers["change"].add_argument(
            "--clear", choices=tuple(_CLEARED), action="append", default=[], help="drop a rule; may be repeated"
        )
        for name in ("start", "pause", "resume", "change", "stop"):
            parsers[name].add_argument(
                "--reason", type=nonempty_text, required=True, metavar="TEXT", help="why, for the record"
            )
            parsers[name].add_argument(
                "--execute", action="store_true", help="write it; without it only what would be is printed"
            )

    def _wrong_usage(self, message: str) -> NoReturn:
        """End with a usage error, as the whole command does; its parser does not exist yet when this one is made."""
        self.usage_error(message)

    def _add_start(self, parser: CommandParser) -> None:
        selection.add_arguments(parser)
        to = [phase for phase in Phase if phase is not Phase.LEGACY]
        parser.add_argument(
            "--to",
            type=phase_among(to),
            choices=to,
            metavar=f"{{{','.join(to)}}}",
            required=True,
            help="the phase to bring them to",
        )
        self._add_rules(parser)

    def _add_rules(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--canary",
            type=selection.text,
            action=Once,
            metavar="ID",
            help="the course that goes first; where none is named, the plan of a start names one to repeat",
        )
        parser.add_argument(
            "--limit", type=positive, metavar="N", help="how many courses may be moved and not shown well yet (1)"
        )
        parser.add_argument(
            "--soak",
            type=valid(parse_length),
            metavar="TIME",
            help="how long a course stands in live: 30m, 48h, 2d (48h)",
        )
        parser.add_argument(
            "--window",
            type=valid(parse_window),
            action="append",
            metavar="HOURS",
            help="when steps may be taken, as 'Mon-Thu 09:00-16:00 Europe/Berlin'; may be repeated (always)",
        )
        parser.add_argument(
            "--not-before",
            action=Once,
            metavar="WHEN",
            help="the first day or moment, as 2026-12-01 or 2026-12-01T09:00",
        )
        parser.add_argument(
            "--freeze",
            type=valid(parse_freeze),
            action="append",
            metavar="DAYS",
            help="days without a step, the last one included, as 2026-12-10..2026-12-20; may be repeated",
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return whether the call only shows, pauses or stops."""
        return options["do"] in ("status", "pause", "stop")

    def document(self, *, do: str, name: str | None, **options: Any) -> Document:
        """Return the document of the sub-command."""
        if options.get("canary"):
            # A campaign knows its own courses, one that was started with --new too, and refuses any other.
            options["canary"] = selection.one(options["canary"], new=options.get("new", True))
        if do == "start":
            return self._start(name, options)
        if do == "status":
            return document.document(_shown(name, options["all"]), do, executed=False)
        campaign = records.named(name)
        who = {"reason": options["reason"], "by": operator()}
        plan, rules = Plan.from_json(campaign.plan), _rules(options) if do == "change" else {}
        if do == "change":
            if not rules and options["canary"] is None:
                self.usage_error("change names no rule")
            plan = records.planned(rules, plan)
        if options["execute"]:
            if do == "change":
                records.change(campaign, plan, options["canary"], **who)
            elif do == "resume":
                records.resume(campaign, [selection.one(course, new=True) for course in options["course"] or ()], **who)
            else:
                {"pause": records.pause, "stop": records.stop}[do](campaign, **who)
        elif do == "change":
            campaign.plan, campaign.canary = plan.to_json(), options["canary"] or campaign.canary
        return document.document([campaign], do, executed=options["execute"])

    def _start(self, name: str | None, options: dict[str, Any]) -> Document:
        courses, because = selection.courses(options), ""
        if not courses:
            return several.nobody(options)
        if options["canary"] is None:
            options["canary"], because = canary.choose(courses)
            if options["execute"] and len(courses) > 1:
                # It follows from what is open in XQueue now, and may be another one than the plan has named.
                self.usage_error(
                    "start --execute of several courses needs --canary: the plan names the one to take; it would be "
                    f"{options['canary']} now"
                )
        campaign, rows = records.new(
            courses,
            options["to"],
            name=name,
            canary=options["canary"],
            plan=records.planned(_rules(options)),
            reason=options["reason"],
            by=operator(),
        )
        if not options["execute"]:
            return document.plan_of(campaign, rows, because)
        records.start(campaign, rows, by=operator())
        return document.document([campaign], "start", executed=True, because=because)


def _rules(options: dict[str, Any]) -> dict[str, Any]:
    """Return the rules that the options name, and empty ones for those that are to be dropped."""
    named = {
        "limit": options["limit"],
        "soak": options["soak"],
        "windows": tuple(options["window"]) if options["window"] else None,
        "freezes": tuple(options["freeze"]) if options["freeze"] else None,
        "not_before": options["not_before"],
    }
    cleared = {_CLEARED[rule] for rule in options.get("clear", ())}
    empty = {rule: "" if rule == "not_before" else () for rule in cleared}
    return empty | {rule: value for rule, value in named.items() if value is not None}


def _shown(name: str | None, everything: bool) -> list[Campaign]:
    if name is not None:
        return [records.named(name)]
    found = Campaign.objects.order_by("id")
    return list(found if everything else found.filter(state__in=records.OPEN))
