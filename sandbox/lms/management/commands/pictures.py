"""Take the documentation's pictures of the dashboard, from a running ``serve``."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sandbox import pictures
from sandbox.databases import PROJECT_ROOT
from sandbox.demo import story


class Command(BaseCommand):
    """The pictures; needs chromedriver."""

    help = "Take docs/images/dashboard-*.png and course-*.png from a running serve, with a headless Chromium."
    requires_system_checks: Any = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument("--dashboard", metavar="URL", help="its address (default: what serve.env says)")
        parser.add_argument("--course", default=story.CLEAN, metavar="ID", help="the course whose page is shown")
        parser.add_argument("--into", type=Path, default=PROJECT_ROOT / "docs" / "images", metavar="DIR")

    def handle(self, *, dashboard: str | None, course: str, into: Path, **options: Any) -> None:
        """Take them."""
        dashboard = dashboard or os.environ.get("DASHBOARD")
        if not dashboard:
            raise CommandError("which dashboard? Read serve.env into the shell (. .sandbox/serve.env), or --dashboard")
        try:
            taken = pictures.take(dashboard, course, into)
        except pictures.NoBrowser as error:
            raise CommandError(str(error)) from error
        for path in taken:
            self.stdout.write(str(path))
