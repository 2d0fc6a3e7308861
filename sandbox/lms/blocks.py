"""The part of a problem block that a submission hands to send_to_queue, and the file objects that CAPA makes."""

from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from opaque_keys.edx.keys import CourseKey, UsageKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeIds:
    """Whose block this is and which."""

    usage_id: UsageKey
    block_type: str
    user_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A problem block as the queue interface sees it."""

    scope_ids: ScopeIds
    course_id: CourseKey
    points: int = 1

    @property
    def location(self) -> UsageKey:
        """Return the usage key under its older name."""
        return self.scope_ids.usage_id

    def max_score(self) -> int:
        """Return the sum of the inputs' points (1 an input unless the author says otherwise), not the weight."""
        return self.points


def make_block(course_id: str, usage_key: str, user_id: int, points: int = 1) -> Block:
    """Return the block of a usage key; raises InvalidKeyError."""
    key = UsageKey.from_string(usage_key)
    course = CourseKey.from_string(course_id)
    ids = ScopeIds(usage_id=key, block_type=key.block_type, user_id=user_id)
    return Block(scope_ids=ids, course_id=course, points=points)


class SubmittedFile:
    """An upload as CAPA hands it on (FileObjForWebobFiles): `file`, `name`, and the file's own methods."""

    def __init__(self, upload: UploadedFile) -> None:
        """Take the upload, under the client's name of it."""
        self.file = upload
        self.name = upload.name

    def __getattr__(self, name: str) -> Any:
        """Pass everything else on to the file."""
        return getattr(self.__dict__["file"], name)
