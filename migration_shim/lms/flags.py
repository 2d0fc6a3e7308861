"""
The platform's course flags, asked of its own models in ``waffle_utils``.

How an override is found is decided by the platform and its database: on MySQL a flag that was typed in another case
counts. So nothing is looked up by hand here. Nor is ``is_enabled()`` called, because it goes on to percentages and
users, which a worker does not have. Sources: edx-platform's ``waffle_utils/__init__.py`` and
``waffle_utils/models.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.apps import apps
from edx_django_utils.cache import RequestCache
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from waffle import get_waffle_flag_model

#: The platform's own flag. With it on for a course, the platform writes to edx-submissions by itself.
SUBMISSION_FLAG = "send_to_submission_course.enable"


def in_platform() -> bool:
    """Tell whether the platform's own flag overrides are installed."""
    return apps.is_installed("openedx.core.djangoapps.waffle_utils")


def forced_value(course_id: str, flag: str) -> bool | None:
    """
    Return what is forced for a course, by its own override or else by its organisation's; None where nothing is.

    It takes one statement for a course with its own override and two for any other; none where this request has asked
    before, because the platform keeps the answer for the length of a request (see ``forget``).
    """
    try:
        key = CourseKey.from_string(course_id)
    except InvalidKeyError:  # a library's key, for which the platform has no overrides either
        return None
    for name, scope in (("WaffleFlagCourseOverrideModel", key), ("WaffleFlagOrgOverrideModel", key.org)):
        model = apps.get_model("waffle_utils", name)
        choice = model.override_value(flag, scope)
        if choice != model.ALL_CHOICES.unset:
            return choice == model.ALL_CHOICES.on
    return None


def was_forced_on(course_id: str, flag: str) -> bool:
    """Tell whether an override of this course has ever forced a flag on; False outside an LMS."""
    if not in_platform():
        return False
    try:
        key = CourseKey.from_string(course_id)
    except InvalidKeyError:  # a record's id of an older release
        return False
    model = course_override_model()
    rows = model.objects.filter(waffle_flag=flag, course_id=key)
    return bool(rows.filter(override_choice=model.ALL_CHOICES.on).exists())


def course_override_model() -> Any:
    """Return the platform's model of a flag's override for one course. Only inside an LMS."""
    return apps.get_model("waffle_utils", "WaffleFlagCourseOverrideModel")


def forget(*flags: str) -> None:
    """
    Make the next look at these flags ask the database.

    Only these flags are forgotten. What else is kept for a request may be a learner's (the platform keeps the id of a
    tracked transaction there), and this is called in a learner's request too.
    """
    cache = RequestCache()
    for key in [key for key in cache.data if any(flag in str(key) for flag in flags)]:
        cache.delete(key)


def submission_flag_on(course_id: str) -> bool:
    """
    Tell whether the platform's own flag sends submissions of a course past the shim; False outside an LMS, which has
    none.

    The flag is read anew at each call. A flag that is on for some of the learners counts as on.
    """
    return submission_flags_on([course_id])[course_id]


def submission_flags_on(course_ids: Collection[str]) -> dict[str, bool]:
    """
    Tell the same as ``submission_flag_on`` for many courses: at most two statements each, and the flag's own once.
    """
    if not in_platform():
        return dict.fromkeys(course_ids, False)
    forget(SUBMISSION_FLAG)
    found = {course_id: forced_value(course_id, SUBMISSION_FLAG) for course_id in course_ids}
    others = None in found.values() and _on_elsewhere()
    return {course_id: others if value is None else value for course_id, value in found.items()}


def _on_elsewhere() -> bool:
    """Tell whether the platform's own flag is on for anybody where nothing is forced."""
    flag = get_waffle_flag_model().objects.filter(name=SUBMISSION_FLAG).first()
    if flag is None or flag.everyone is not None:
        return flag is not None and flag.everyone
    return bool(flag.percent or flag.authenticated or flag.users.exists() or flag.groups.exists())
