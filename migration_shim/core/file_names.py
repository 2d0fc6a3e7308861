"""The file name that XQueue keeps: what a learner's file is called once its multipart part has arrived there."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from email.message import Message
from typing import TypeVar

File = TypeVar("File")

#: urllib3 2, ``fields.format_multipart_header_param``.
_ESCAPED = {ord("\n"): "%0A", ord("\r"): "%0D", ord('"'): "%22"}
#: Django's parser has bytes in its hands when it strips.
_BLANKS = " \t\n\r\x0b\x0c"
_SURROGATE = re.compile("[\ud800-\udfff]")


def kept(name: str) -> str | None:
    """
    Return the name that XQueue keeps, and gives to its graders, for a file sent as ``name``; None if it keeps no file.

    The name of the multipart part counts, not its file name. ``requests`` sends both, and urllib3 escapes quotes and
    line breaks. Django (``http/multipartparser.py``) undoes backslashes, strips the name, and drops a part whose name
    is then empty, or whose file name is empty without its path. XQueue knows its files by the name of the part
    (``submission_queue/lms_interface.py``).

    Use it only for a name that is about to be sent; one that has arrived needs no change. A name with a lone surrogate
    is never sent, because ``requests`` raises.
    """
    if _SURROGATE.search(name):
        return name
    escaped = name.translate(_ESCAPED)
    message = Message()
    message["content-type"] = f'form-data; name="{escaped}"; filename="{escaped}"'
    sent = dict(message.get_params() or ())
    name_there = str(sent.get("name", "")).strip(_BLANKS)
    return name_there if name_there and _survives(str(sent.get("filename", ""))) else None


def _survives(file_name: str) -> bool:
    """Tell whether Django takes a part for a file (``MultiPartParser.sanitize_file_name``)."""
    last = html.unescape(file_name).rsplit("/")[-1].rsplit("\\")[-1]
    return "".join(char for char in last if char.isprintable()) not in {"", ".", ".."}


def kept_files(files: Iterable[tuple[str, File]]) -> dict[str, File]:
    """
    Return the files of one submission by the names that XQueue would keep. They are given by the names they are sent
    as.

    Of two files with one name the later counts, before and after: CAPA and ``LegacyClient`` send a dictionary, and
    XQueue reads one.
    """
    found = {}
    for name, file in dict(files).items():
        if (name_there := kept(name)) is not None:
            found[name_there] = file
    return found
