"""A folder of an SSH host as a store. The host needs a POSIX shell, and nothing of ours."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from typing import BinaryIO, cast

from ultraplan.backup.errors import AlreadyThere, StoreError
from ultraplan.backup.names import is_key
from ultraplan.backup.stores.base import Reader, Stored, Writer
from ultraplan.shell import Reply, quote
from ultraplan.transport.base import Connection, TransportError

_PART = ".part-"
_TAKEN, _NO_ROOT = 17, 3
_TIMEOUT = 600.0
_ROW = re.compile(r"-\S* +\d+ +\d+ +\d+ +(\d+) .* \./(\S+)")

# A file's content, and then its name, is on the disk before anybody is told so. `sync FILE` is of coreutils 8.24;
# where it is not known, everything is synced.
_SYNC = 'on_disk() { sync -- "$1" 2>/dev/null || sync; }\n'


class SshStore:
    """Objects are files, 0600, below ``root`` (absolute) on the host of ``connection``."""

    def __init__(self, connection: Connection, root: str) -> None:
        self.url = f"ssh://{connection.host}{root}"
        self._connection, self._root = connection, root.rstrip("/") or "/"
        self._lock = threading.Lock()

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """See `Store.list`."""
        folder = self._root + "/" + prefix.rpartition("/")[0]
        # Names of ours have no blanks, so the last word of a row is the name; others are passed over.
        reply = self._run(f"cd {quote(self._root)} || exit {_NO_ROOT}\n"
                          f"cd {quote(folder)} 2>/dev/null || exit 0\n"
                          f"find . -type f ! -path '*/{_PART}*' -exec ls -dln {{}} +\n")
        if reply.truncated:
            raise StoreError(f"{self.url} holds more objects than can be listed at once", "list one name at a time")
        self._check(reply, "cannot be listed")
        start = folder.removeprefix(self._root).strip("/")
        found = []
        for line in reply.text.splitlines():
            row = _ROW.fullmatch(line)
            key = f"{start}/{row[2]}" if row and start else row[2] if row else ""
            if row and is_key(key) and key.startswith(prefix):
                found.append(Stored(key, int(row[1])))
        return iter(sorted(found, key=lambda one: one.key))

    def put(self, key: str, source: Reader, *, exclusive: bool = False) -> None:
        """See `Store.put`."""
        file = self._file(key)
        folder = file.rpartition("/")[0]
        # In a folder of its own: when that is gone, what is still on its way can make no file any more.
        scratch = f"{folder}/{_PART}{secrets.token_hex(8)}"
        part = f"{scratch}/object"
        self._check(self._run(f"cd {quote(self._root)} || exit {_NO_ROOT}\numask 077\nmkdir -p -- {quote(scratch)}\n"),
                    f"{key} cannot be stored")
        try:
            try:
                self._connection.upload(cast(BinaryIO, _Stream(source)), part)
            except TransportError as error:
                raise self._failed(key, error) from None
            name = f"ln -- {quote(part)} {quote(file)} && rm -f -- {quote(part)}" if exclusive \
                else f"mv -f -- {quote(part)} {quote(file)}"
            reply = self._run(f"{_SYNC}on_disk {quote(part)}\n"
                              + (f"[ ! -e {quote(file)} ] || exit {_TAKEN}\n" if exclusive else "")
                              + f"{name} || {{ [ -e {quote(file)} ] && exit {_TAKEN}; exit 1; }}\n"
                              f"rmdir -- {quote(scratch)}\non_disk {quote(folder)}\n")
            if exclusive and reply.exit == _TAKEN:
                raise AlreadyThere(f"{self.url}: {key} is there already")
            self._check(reply, f"{key} cannot be stored")
        except BaseException:
            self._forget(scratch)
            raise

    def get(self, key: str, sink: Writer) -> None:
        """See `Store.get`."""
        try:
            self._connection.download(self._file(key), cast(BinaryIO, _Sink(sink)))
        except TransportError as error:
            raise self._failed(key, error) from None

    def delete(self, key: str) -> None:
        """See `Store.delete`. Its folder goes with the last object."""
        file = self._file(key)
        folders = " ".join(quote(f"{self._root}/{part}") for part in _parents(key))
        inside = quote(file.rpartition("/")[0])
        self._check(self._run(f"{_SYNC}[ -d {inside} ] || exit 0\nrm -f -- {quote(file)} || exit 1\non_disk {inside}\n"
                              + (f"rmdir -- {folders} 2>/dev/null || :\n" if folders else "")),
                    f"{key} cannot be removed")

    def sweep(self, older_than: float) -> int:
        """See `Store.sweep`; to the minute."""
        age = f"-mmin +{int(older_than / 60)}" if older_than >= 60 else ""
        reply = self._run(f"cd {quote(self._root)} || exit {_NO_ROOT}\n"
                          f"find . -type f -path '*/{_PART}*' {age} -print -exec rm -f -- {{}} \\; | wc -l\n"
                          f"find . -mindepth 1 -depth -type d {age} -exec rmdir -- {{}} \\; 2>/dev/null || :\n")
        self._check(reply, "cannot be swept")
        return int(reply.text.strip() or 0)

    def close(self) -> None:
        """See `Store.close`."""
        self._connection.close()

    # -- below: how

    def _file(self, key: str) -> str:
        if not is_key(key):
            raise StoreError(f"{key!r} cannot be the name of an object")
        return f"{self._root.rstrip('/')}/{key}"

    def _run(self, text: str) -> Reply:
        with self._lock:
            try:
                return self._connection.shell().run(text, timeout=_TIMEOUT)
            except TransportError as error:
                raise self._failed("", error) from None

    def _forget(self, scratch: str) -> None:
        """Remove what a put that failed left, as far as the host can still be reached."""
        try:
            self._run(f"rm -rf -- {quote(scratch)} || rm -rf -- {quote(scratch)}\n")
        except StoreError:
            return

    def _check(self, reply: Reply, what: str) -> None:
        if reply.exit == _NO_ROOT:
            raise StoreError(f"{self.url}: there is no such folder",
                             "make it; it is not made by itself, for it may be a disk that is not mounted")
        if reply.exit != 0:
            said = reply.error_text.strip().splitlines()
            raise StoreError(f"{self.url}: {what}: {said[-1] if said else f'exit {reply.exit}'}")

    def _failed(self, key: str, error: TransportError) -> StoreError:
        return StoreError(f"{self.url}{'/' if key else ''}{key}: {error}", error.hint)


class _Stream:
    """A `Reader` as a stream that cannot be wound back."""

    def __init__(self, source: Reader) -> None:
        self.read = source.read

    def seekable(self) -> bool:
        return False


class _Sink:
    """A `Writer` as a stream."""

    def __init__(self, sink: Writer) -> None:
        self.write = sink.write

    def flush(self) -> None:
        """Nothing is held back."""


def _parents(key: str) -> list[str]:
    """The folders of a key, innermost first: ``a/b/c`` → ``a/b``, ``a``."""
    parts = key.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
