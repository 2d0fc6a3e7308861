"""Which queues are for copies, and which are learners' own: a comparison and a step have to say the same."""

from __future__ import annotations

from ..conf import ShimSettings
from . import counts


class CopiesQueues:
    """
    Tells queues for copies of submissions to a queue: they have its name, and a suffix.

    The suffix may be one of before the settings were changed. ``cs101-hard`` beside ``cs101`` has none of now: it is no
    such queue if learners of any course submit to it, in whatever case, as the target's database may compare. Learners'
    queues are read where there is a doubt, and once.
    """

    def __init__(self, settings: ShimSettings) -> None:
        self._suffixes = settings.shadow_queue_suffix, settings.echo_queue_suffix
        self._learners: frozenset[str] | None = None

    def are_for(self, queue_name: str, name: str) -> bool:
        """Tell whether ``name`` is one of the queues for copies of submissions to ``queue_name``."""
        if name in [queue_name + suffix for suffix in self._suffixes]:
            return True
        if name == queue_name or not name.startswith(queue_name):
            return False
        if self._learners is None:
            self._learners = frozenset(one.strip().casefold() for one in counts.queues_of_all())
        return name.strip().casefold() not in self._learners
