"""From what a person writes for the state store to the store: the one place that knows the kinds."""

from __future__ import annotations

import re
from pathlib import Path

from ultraplan.journal.base import JournalError, Store

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
SCHEMES = ("sqlite",)
"""The URL schemes there are."""


def open_store(where: str | Path) -> Store:
    """The store at ``where``, made where it is missing: a file's path, or ``sqlite://PATH``.

    Raises `JournalError`.
    """
    scheme, rest = "sqlite", str(where)
    if isinstance(where, str) and (found := _URL.fullmatch(where)):
        scheme, rest = found[1].lower(), found[2]
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise JournalError(f"{where}: there is no store of the kind {scheme}://; write {known}"
                           " or a file's path")
    if not rest:
        raise JournalError(f"{where!s}: names no file")
    from ultraplan.journal.sqlite import SQLiteStore

    path = Path(rest).expanduser()
    if path.is_dir():
        raise JournalError(f"{path}: is a folder; name the journal's file in it")
    return SQLiteStore(path)
