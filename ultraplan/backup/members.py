"""Members of an archive, and their lines in the list of files."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ultraplan.backup.errors import Damaged

FILE, FOLDER, SYMLINK, HARDLINK, FIFO, CHAR, BLOCK = "file", "dir", "symlink", "hardlink", "fifo", "char", "block"
"""The types of members."""

_MTIME = re.compile(r"(-?)(\d{1,18})(?:\.(\d{1,9}))?")


@dataclass(slots=True)
class Member:
    """One member of an archive. ``path`` has neither ``./`` before nor ``/`` after it; it is ``.`` for the root itself.

    ``mtime``: nanoseconds since 1970. ``sha256``: of the file as it is read, holes as zeros; None for what is no file.
    ``link``: a symbolic link's text, or the member that a hard link is another name of. ``acl`` and ``default_acl``:
    POSIX ACLs as text.
    """

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    user: bytes
    group: bytes
    mtime: int
    size: int = 0
    sha256: str | None = None
    link: bytes | None = None
    device: tuple[int, int] | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    acl: bytes | None = None
    default_acl: bytes | None = None


@dataclass(slots=True, frozen=True)
class Note:
    """Something about a member that tar said while it read it (``file changed as we read it``)."""

    path: bytes
    text: str


def mtime_text(nanoseconds: int) -> str:
    """Seconds with nine decimals, as ``stat`` and pax have them."""
    sign = "-" if nanoseconds < 0 else ""
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{seconds}.{rest:09d}"


def parse_mtime(text: str) -> int:
    """Nanoseconds of a decimal number of seconds; raises ValueError."""
    found = _MTIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time")
    sign, seconds, fraction = found.groups()
    value = int(seconds) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    return -value if sign else value


def _put(into: dict[str, Any], key: str, value: bytes) -> None:
    try:
        into[key] = value.decode()
    except UnicodeDecodeError:
        into[f"{key}_base64"] = base64.b64encode(value).decode()


def _get(data: dict[str, Any], key: str) -> bytes | None:
    if key in data:
        return str(data[key]).encode()
    coded = data.get(f"{key}_base64")
    return None if coded is None else base64.b64decode(coded, validate=True)


def encode(member: Member) -> bytes:
    """The member's line, with its line break."""
    data: dict[str, Any] = {}
    _put(data, "path", member.path)
    data["type"] = member.kind
    if member.kind == FILE:
        data["size"], data["sha256"] = member.size, member.sha256
    data["mode"] = f"{member.mode:04o}"
    data["uid"], data["gid"] = member.uid, member.gid
    _put(data, "user", member.user)
    _put(data, "group", member.group)
    data["mtime"] = mtime_text(member.mtime)
    if member.link is not None:
        _put(data, "link", member.link)
    if member.device is not None:
        data["device"] = list(member.device)
    if member.xattrs:
        data["xattrs"] = {name.decode("utf-8", "surrogateescape"): base64.b64encode(value).decode()
                          for name, value in sorted(member.xattrs.items())}
    if member.acl is not None:
        _put(data, "acl", member.acl)
    if member.default_acl is not None:
        _put(data, "default_acl", member.default_acl)
    return _line(data)


def encode_note(note: Note) -> bytes:
    """The note's line; notes stand behind all members."""
    data: dict[str, Any] = {"note": note.text}
    _put(data, "path", note.path)
    return _line(data)


def _line(data: dict[str, Any]) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:  # the name of an attribute that is not UTF-8
        return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Member | Note:
    """What a line says; raises `Damaged`."""
    try:
        data = json.loads(line)
        path = _get(data, "path")
        if path is None:
            raise KeyError("path")
        if "note" in data:
            return Note(path, str(data["note"]))
        device = data.get("device")
        return Member(
            path=path, kind=str(data["type"]), mode=int(data["mode"], 8), uid=int(data["uid"]), gid=int(data["gid"]),
            user=_get(data, "user") or b"", group=_get(data, "group") or b"", mtime=parse_mtime(data["mtime"]),
            size=int(data.get("size", 0)), sha256=data.get("sha256"), link=_get(data, "link"),
            device=None if device is None else (int(device[0]), int(device[1])),
            xattrs={name.encode("utf-8", "surrogateescape"): base64.b64decode(value, validate=True)
                    for name, value in data.get("xattrs", {}).items()},
            acl=_get(data, "acl"), default_acl=_get(data, "default_acl"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"a line of the list of files cannot be read: {error}") from None
