"""Keep the sandbox running until interrupted: both stand-ins on loopback and a grader that polls them."""

import threading
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from sandbox import capture
from sandbox.demo import stage, story
from sandbox.grader import PullGrader
from sandbox.lms.seed import seed_learners
from sandbox.schema import NotASandbox, PrepareFailed, prepare

QUEUES = ("exu-py1", "ExampleUniversity-DataStructures201", "exu-alg2", "exu-misc")
PAUSE = 1.0  # seconds between two empty rounds, as a watcher's POLL_INTERVAL


class Command(BaseCommand):
    """The stand-ins, for looking around by hand."""

    help = "Run the LMS, XQueue and a grader on loopback ports until interrupted. Loads the captured rows when empty."
    requires_system_checks: Any = []

    def handle(self, **options: Any) -> None:
        """Prepare, start, say where everything is, wait."""
        try:
            prepare()
        except (NotASandbox, PrepareFailed) as error:
            raise CommandError(str(error)) from error
        self._fill()
        stage.make_grader_account()
        with stage.running() as running:
            targets = [queue + suffix for queue in QUEUES for suffix in ("", settings_suffix())]
            graders = [stage.grader_on_legacy(running, *QUEUES), stage.grader_on_target(*targets)]
            stopped = threading.Event()
            threads = [threading.Thread(target=poll, args=(grader, stopped)) for grader in graders]
            for thread in threads:
                thread.start()
            self._tell(running)
            try:
                stopped.wait()
            except KeyboardInterrupt:
                self.stdout.write("stopping")
            finally:
                stopped.set()
                for thread in threads:
                    thread.join()

    def _fill(self) -> None:
        try:
            stage.require_empty()
        except stage.NotEmpty:
            return
        counts = capture.load_capture(story.DATA)
        seed_learners(story.captured_rows(), password=stage.LEARNER_PASSWORD)
        self.stdout.write(f"{counts.rows} captured rows loaded")

    def _tell(self, running: stage.Stage) -> None:
        self.stdout.write(f"XQueue: {running.xqueue_url}   LMS: {running.environment['SANDBOX_HOSTS']}")
        self.stdout.write(f"learners' password: {stage.LEARNER_PASSWORD!r}; graders poll every {PAUSE:g} s")
        self.stdout.write("To run a command against it, set:")
        for name, value in running.environment.items():
            self.stdout.write(f"  export {name}='{value}'")
        self.stdout.write("Ctrl-C stops everything; the databases stay.")
        self.stdout.flush()


def settings_suffix() -> str:
    """The suffix of shadow queues in force."""
    return settings.MIGRATION_SHIM.get("SHADOW_QUEUE_SUFFIX", ".shadow")


def poll(grader: PullGrader, stopped: threading.Event) -> None:
    """Grade until told to stop; a server that does not answer is asked again later."""
    while not stopped.is_set():
        try:
            handled = grader.run_once()
        except requests.RequestException:
            handled = 0
        if not handled:
            stopped.wait(PAUSE)
