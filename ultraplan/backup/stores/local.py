"""A folder of this machine (or one that is mounted here) as a store."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ultraplan.backup.durable import sync_folder
from ultraplan.backup.errors import AlreadyThere, StoreError
from ultraplan.backup.names import is_key
from ultraplan.backup.stores.base import Reader, Stored, Writer

_CHUNK = 1 << 20
_PART = ".part-"


class LocalStore:
    """Objects are files, 0600. Written under another name, synced, renamed, and their folder synced."""

    def __init__(self, root: Path) -> None:
        self.url = f"file://{root}"
        self.root = root

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """See `Store.list`."""
        folder = self.root / prefix.rpartition("/")[0]
        found: list[Stored] = []
        try:
            for where, folders, files in os.walk(folder, onerror=_raise):
                folders[:] = [name for name in folders if is_key(name)]
                for name in files:
                    file = Path(where, name)
                    key = file.relative_to(self.root).as_posix()
                    if is_key(key) and key.startswith(prefix):
                        found.append(Stored(key, file.lstat().st_size))
        except FileNotFoundError as error:
            if self.root.exists():
                return iter(sorted(found, key=lambda one: one.key))  # removed while we looked
            raise self._failed(error, self.root) from None
        except OSError as error:
            raise self._failed(error, folder) from None
        return iter(sorted(found, key=lambda one: one.key))

    def put(self, key: str, source: Reader, *, exclusive: bool = False) -> None:
        """See `Store.put`."""
        file = self._file(key)
        part = file.with_name(f"{_PART}{secrets.token_hex(8)}")
        try:
            self._make(file.parent)
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._failed(error, file) from None
        try:
            with os.fdopen(fd, "wb", buffering=0) as stream:
                self._copy(source, stream.fileno(), file)
            self._name(part, file, exclusive)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def get(self, key: str, sink: Writer) -> None:
        """See `Store.get`."""
        file = self._file(key)
        try:
            stream = file.open("rb", buffering=0)
        except OSError as error:
            raise self._failed(error, file) from None
        with stream:
            while True:
                try:
                    data = stream.read(_CHUNK)
                except OSError as error:
                    raise self._failed(error, file) from None
                if not data:
                    return
                sink.write(data)

    def delete(self, key: str) -> None:
        """See `Store.delete`. Its folder goes with the last object."""
        file = self._file(key)
        try:
            file.unlink(missing_ok=True)
            sync_folder(file.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error, file) from None
        self._prune(file.parent)

    def sweep(self, older_than: float) -> int:
        """See `Store.sweep`."""
        removed, latest = 0, time.time() - older_than
        for part in list(self.root.rglob(f"{_PART}*")):
            try:
                if part.lstat().st_mtime <= latest:
                    part.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._failed(error, part) from None
            self._prune(part.parent)
        return removed

    def close(self) -> None:
        """See `Store.close`."""

    # -- below: how

    def _file(self, key: str) -> Path:
        if not is_key(key):
            raise StoreError(f"{key!r} cannot be the name of an object")
        return self.root / key

    def _prune(self, folder: Path) -> None:
        """Remove folders that are empty, up to the root."""
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _make(self, folder: Path) -> None:
        if not self.root.is_dir():
            raise StoreError(f"{self.root}: there is no such folder",
                             "make it; it is not made by itself, for it may be a disk that is not mounted")
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
            sync_folder(one.parent)

    def _copy(self, source: Reader, fd: int, file: Path) -> None:
        while data := source.read(_CHUNK):
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(fd, view):]
            except OSError as error:
                raise self._failed(error, file) from None
        try:
            os.fsync(fd)
        except OSError as error:
            raise self._failed(error, file) from None

    def _name(self, part: Path, file: Path, exclusive: bool) -> None:
        try:
            if exclusive:
                os.link(part, file)
                part.unlink()
            else:
                part.replace(file)
            sync_folder(file.parent)
        except FileExistsError:
            raise AlreadyThere(f"{file} is there already") from None
        except OSError as error:
            raise self._failed(error, file) from None

    def _failed(self, error: OSError, file: Path) -> StoreError:
        return StoreError(f"{file}: {error.strerror or error}")


def _raise(error: OSError) -> None:
    raise error
