"""``xqueue_status``: where every course stands."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser
from django.db import close_old_connections

from ... import toggles
from ...copies import breaker
from ...core.data import Document
from ...core.failures import cache_down
from ...reports import prometheus
from ...status import document as status_document
from ...status import runs
from .. import selection, several
from ..command import ShimCommand
from ..failures import Failed

#: Seconds between two screens; longer where reading takes long, to keep the load low.
PAUSE = 5.0
#: Escape codes: cursor home, and clear the screen.
CLEAR = "\x1b[H\x1b[2J"


class Command(ShimCommand):
    """Print phase, drift, copies, last runs and verdict of courses, and the state of the site."""

    help = (
        "Where every course stands: phase, drift, permit, in-flight rows, copies, last runs, verdict; and breakers and "
        "queues without a watcher. Without --course one screen for the site, with a line a course."
    )
    formats = {**ShimCommand.formats, "prometheus": prometheus.render}

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        selection.add_arguments(parser, everything="every course, which is the default: one line each")
        parser.add_argument(
            "--watch",
            action="store_true",
            help="print it again every few seconds; Ctrl-C ends it, with the exit code of the last screen",
        )
        parser.add_argument(
            "--watcher-config",
            action="store_true",
            help="print the entries of conf.d, xqueue_servers.json and xqwatcher.json that serve all queues of the "
            "courses, and the XQUEUES lines",
        )

        parser.add_argument(
            "--runs",
            action="store_true",
            help="print the unfinished runs instead: running, waiting or dead, whose they are, when their locks free",
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads."""
        return True

    def document(self, *, watcher_config: bool, **options: Any) -> Document:
        """Return the status, or with ``--runs`` the unfinished runs."""
        named = selection.is_named({**options, "all": False})
        if options["runs"]:
            if options["format"] == "prometheus" or named or watcher_config:
                self.usage_error("--runs lists all runs, as text or JSON: use it alone")
            return runs.run()
        if kind := breaker.why_alone():
            down = cache_down(kind)
            self.stderr.write(
                f"{down.message} The breakers below are those of this process alone. See: {down.page} ({down.code})"
            )
        if not named:
            return status_document.run(None, watcher_config=watcher_config)
        courses = self.courses(options)
        if not courses:
            return several.nobody(options)
        return status_document.run(courses, watcher_config=watcher_config)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the status once, or with ``--watch`` until Ctrl-C."""
        if not options["watch"]:
            super().handle(*args, **options)
            return
        if options["format"] != "text":
            self.usage_error("--watch prints for people: use it without --format")
        try:
            while True:
                took = self._round(options)
                # There is no request whose end would close a connection that has died in the meantime.
                close_old_connections()
                time.sleep(max(PAUSE, 10 * took))
        except KeyboardInterrupt:
            self.stdout.write("")

    def _round(self, options: dict[str, Any]) -> float:
        """Print one screen, and return how many seconds it took."""
        began = time.monotonic()
        toggles.new_work_cycle()
        try:
            answer = self.answer(options)
            shown, self.exit_code = self.formats["text"](answer.content), answer.exit_code
        except Failed as error:
            if not error.failure.passing:
                raise
            shown = f"{error} Trying again."  # it may be back in a moment, so watching goes on
        self.stdout.write((CLEAR if self.stdout.isatty() else "") + shown)
        self.stdout.flush()
        return time.monotonic() - began
