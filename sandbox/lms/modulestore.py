"""The stand-in's modulestore: what a receiver has to wait for, and what fails when Mongo does."""

from opaque_keys.edx.keys import CourseKey


class ModuleStore:
    """Courses as a receiver loads them; says how often one was loaded."""

    def __init__(self) -> None:
        self.loads = 0

    def get_course(self, course_key: CourseKey, depth: int = 0) -> None:
        """Load a course. The stand-in has no courseware, so there is nothing to give back."""
        self.loads += 1


_STORE = ModuleStore()


def modulestore() -> ModuleStore:
    """The process's one store, as ``xmodule.modulestore.django.modulestore``."""
    return _STORE
