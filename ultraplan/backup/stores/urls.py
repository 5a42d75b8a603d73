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
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "ssh" and parts.netloc and parts.path.strip("/") and not parts.query:
        from ultraplan.backup.stores.ssh import SshStore

        return SshStore(connect(parts.netloc), urllib.parse.unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        return _s3(url, parts)
    raise BackupError(f"{url!r} is no place for backups", f"a store is {HELP}")


def connection(address: str, *, ssh_config: Path | None = None, known_hosts: Path | None = None,
               strict: bool = True) -> Connection:
    """A connection to the host of an ``ssh`` URL: ``[user@]host[:port]``, with ssh_config and known_hosts of the person
    and the system where none are given. Raises `TransportError` for what is no address."""
    from ultraplan.transport.target import Target, connector

    user, _, rest = address.rpartition("@")
    host, colon, port = rest.rpartition(":")
    name = host if colon and port.isdecimal() else rest
    variables: dict[str, object] = {"ansible_host": name.strip("[]")}
    if user:
        variables["ansible_user"] = user
    if colon and port.isdecimal():
        variables["ansible_port"] = port
    return connector({name: Target.of(name, variables)}, ssh_config=ssh_config, known_hosts=known_hosts,
                     strict=strict)(name)


def _s3(url: str, parts: urllib.parse.SplitResult) -> Store:
    from ultraplan.backup.stores.s3 import Bucket, S3Store

    options = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"endpoint_url", "region", "lock_days"}
    days = options.get("lock_days", "0")
    if unknown or not days.isdecimal():
        raise BackupError(f"{url!r}: {min(unknown, default='lock_days')} cannot be so",
                          "known are endpoint_url, region and lock_days (a whole number)")
    return S3Store(Bucket(name=parts.netloc, prefix=urllib.parse.unquote(parts.path), region=options.get("region"),
                          endpoint_url=options.get("endpoint_url"), lock=int(days) * 86400.0 if int(days) else None))


def local_path(url: str) -> Path | None:
    """The folder of a local store; None for any other URL."""
    if url and "://" not in url:
        return Path(url).expanduser().absolute()
    if url.startswith("file:///"):
        return Path(urllib.parse.unquote(url.removeprefix("file://")))
    return None
