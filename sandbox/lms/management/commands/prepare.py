"""Create or update the schema of the sandbox's two databases."""

import json
from dataclasses import asdict

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox.schema import NotASandbox, PrepareFailed, prepare


class Command(BaseCommand):
    """``prepare``, as often as wanted."""

    help = "Create or update the schema of both databases and XQueue's account; as often as wanted."
    # Checks that look into the databases cannot pass before this has run.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *, format: str, **options) -> None:
        try:
            prepared = prepare()
        except (NotASandbox, PrepareFailed) as error:
            raise CommandError(str(error)) from error
        if format == "json":
            self.stdout.write(json.dumps({"schema": "migration_shim.prepare/1"} | asdict(prepared)))
            return
        self.stdout.write(
            f"target ({prepared.target}) and legacy ({prepared.legacy}) are up to date, "
            f"{prepared.migrations_applied} migrations applied"
        )
        if prepared.uuid_migration_faked:
            self.stdout.write("submissions.0006_mariadb_uuid_conversion recorded as applied: see sandbox/schema.py")
