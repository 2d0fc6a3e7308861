"""Load captured rows of a real XQueue into the sandbox's legacy database."""

import json
from dataclasses import asdict

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox.capture import CaptureError, load_capture
from sandbox.schema import NotASandbox


class Command(BaseCommand):
    """``load_capture DIR``."""

    help = "Load DIR/queue_submission.jsonl and DIR/files into the legacy database, ids kept; as often as wanted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", metavar="DIR")
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *, directory: str, format: str, **options) -> None:
        try:
            counts = load_capture(directory)
        except (CaptureError, NotASandbox) as error:
            raise CommandError(str(error)) from error
        if format == "json":
            self.stdout.write(json.dumps({"schema": "migration_shim.load_capture/1"} | asdict(counts)))
        else:
            self.stdout.write(
                f"{counts.rows} rows inserted, {counts.rows_present} were there already, {counts.files} files copied"
            )
