"""A handoff in a process of its own, for a test to kill: ``python -m tests.backfill.handoff.child SETTLE DELAY``."""

import sys

import django


def main() -> None:
    """Say that the run begins, and run."""
    django.setup()
    from django.conf import settings

    from tests.builders import handing_off as world

    times = {"HANDOFF_SETTLE_SECONDS": float(sys.argv[1]), "PROCESSING_DELAY_SECONDS": float(sys.argv[2])}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | times
    print("ready", flush=True)
    print(world.run().content["released"], flush=True)


if __name__ == "__main__":
    main()
