"""Names in a store: of what is backed up, of sets, of objects."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from ultraplan.backup.errors import BackupError

DATA, FILES, MANIFEST, SIGNATURE, RESTORE, COMMIT, VERIFIED = (
    "data.tar.zst.age", "files.jsonl.zst.age", "manifest.json", "manifest.json.sig", "RESTORE.txt", "COMMIT",
    "VERIFIED")
"""The objects of a set, and the note that `verify` leaves."""

WHOLE = (DATA, FILES, RESTORE, MANIFEST, SIGNATURE)
"""What COMMIT lists, in the order in which it is written."""

HELD = "HELD-"
"""The beginning of notes that keep a set from being pruned."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SET = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-[0-9a-f]{8}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127})*")


def check_name(name: str) -> str:
    """``name``, if it may be the name of what is backed up; raises `BackupError`."""
    if not _NAME.fullmatch(name):
        raise BackupError(f"{name!r} cannot be the name of a backup",
                          "letters, digits, dots, dashes and underscores; it begins with a letter or a digit")
    return name


def is_key(key: str) -> bool:
    """Whether an object may be called so: relative, of plain characters, no part of it hidden or ``..``."""
    return _KEY.fullmatch(key) is not None


def new_set(now: datetime) -> str:
    """A name for a set that begins ``now``: sorts by time, and nobody else has it."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"


def begun(set_id: str) -> datetime | None:
    """When a set of this name was begun; None where it is no name of a set."""
    found = _SET.fullmatch(set_id)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
