"""From a store's URL to the store: a path or ``file://``, ``ssh://``, ``s3://``."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from pathlib import Path

from ultraplan.backup.errors import BackupError
from ultraplan.backup.stores.base import Store
from ultraplan.transport.base import Connection

HELP = "/path, ssh://HOST/path or s3://BUCKET/PREFIX[?endpoint_url=URL]"
"""What a store's URL looks like."""


def open_store(url: str, connect: Callable[[str], Connection]) -> Store:
    """The store at ``url``; nothing is sent before its first use. ``connect``: from the host in an ``ssh`` URL
    (``[user@]host[:port]``) to its connection. Raises `BackupError` for what is no such URL."""
    path = local_path(url)
    if path is not None:
        from ultraplan.backup.stores.local import LocalStore

        return LocalStore(path)
    raise BackupError(f"{url!r} is no place for backups", f"a store is {HELP}")


def local_path(url: str) -> Path | None:
    """The folder of a local store; None for any other URL."""
    if url and "://" not in url:
        return Path(url).expanduser().absolute()
    if url.startswith("file:///"):
        return Path(urllib.parse.unquote(url.removeprefix("file://")))
    return None
