"""
The platform's app of this name: flags that can be forced for one course or one organisation.

Source: edx-platform's ``waffle_utils/__init__.py`` (read at eb259c8 of a public copy of autumn 2025).
"""

from typing import Any

from edx_toggles.toggles import WaffleFlag
from opaque_keys.edx.keys import CourseKey


class CourseWaffleFlag(WaffleFlag):
    """A flag that knows the course: forced for it, or for its organisation, or else asked as any waffle flag is."""

    def _forced(self, course_key: Any) -> str:
        # Imported late: this is also the app's own package, and models come after it.
        from .models import WaffleFlagCourseOverrideModel, WaffleFlagOrgOverrideModel

        forced = WaffleFlagCourseOverrideModel.override_value(self.name, course_key)
        if forced == "unset":
            forced = WaffleFlagOrgOverrideModel.override_value(self.name, course_key.org)
        return forced

    def is_enabled(self, course_key: Any = None) -> bool:
        """Return whether it is on; where nothing is forced, percentages and users of the request count."""
        forced = self._forced(course_key) if isinstance(course_key, CourseKey) else "unset"
        return super().is_enabled() if forced == "unset" else forced == "on"
