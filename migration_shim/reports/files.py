"""Files of reports: written completely or not at all, and those with learners' data for their owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, chunks: Iterable[str], *, private: bool) -> None:
    """
    Write a file; an older one is never left half overwritten.

    Args:
        path: the file, in an existing folder.
        chunks: its text.
        private: only the owner may read it (mode 0600).
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)

    def opener(name: str, flags: int) -> int:
        # Ours alone: whoever may write to the folder could have put a link there since.
        return os.open(name, flags | os.O_EXCL, 0o600 if private else 0o666)

    try:
        with open(part, "w", encoding="utf-8", newline="", opener=opener) as file:
            file.writelines(chunks)
        part.replace(path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk's error names no file
        part.unlink(missing_ok=True)
        raise
