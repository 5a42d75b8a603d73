"""Writing below a folder of the controller so that it can be taken back, whenever the program ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultraplan.steps.base import StepFailed

_JOURNAL = "written.json"


class LocalTree:
    """Files (0600), folders (0700) and links written one by one, each in one step, none through a symbolic link.

    ``preimage``: a folder that keeps what is replaced, and a journal that says what is about to be done before it is.
    A second one on the same folder goes on with the first one's journal.
    """

    def __init__(self, preimage: Path) -> None:
        self._folder = preimage
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / _JOURNAL
        self._done: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def folder(self, path: Path) -> None:
        """Make ``path`` and what is missing above it. Raises `StepFailed` where something is in the way."""
        for each in (*reversed(path.parents), path):
            if each.is_symlink() and each == path:
                raise StepFailed(f"{path} is a symbolic link; nothing is written through it")
            if each.is_dir():
                continue
            if each.exists() or each.is_symlink():
                raise StepFailed(f"{each} is in the way: it is no folder")
            self._note(each, {"made": "folder"})
            each.mkdir(mode=0o700, exist_ok=True)

    def file(self, path: Path, sha256: str, fill: Callable[[Path], None]) -> None:
        """Make ``path`` a file with that digest, which ``fill`` writes to the path it is given."""
        self._secure(path, {"sha256": sha256})
        temporary = _beside(path)
        temporary.unlink(missing_ok=True)
        try:
            temporary.touch(mode=0o600, exist_ok=False)
            fill(temporary)
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def link(self, path: Path, target: str) -> None:
        """Make ``path`` a symbolic link."""
        self._secure(path, {"target": target})
        temporary = _beside(path)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)

    def undo(self) -> None:
        """Take back all that was written, the last first. Raises `StepFailed` where it was changed since."""
        for name, what in reversed(list(self._done.items())):
            path = Path(os.fsdecode(bytes.fromhex(name)))
            if what.get("made") == "folder":
                if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                    path.rmdir()
            else:
                _beside(path).unlink(missing_ok=True)
                if "kept" in what:
                    self._restore(path, what, self._folder / what["kept"])
                elif path.is_symlink() or path.exists():
                    _expect(path, what)
                    path.unlink()
            del self._done[name]
            self._write()
        shutil.rmtree(self._folder)

    def _restore(self, path: Path, what: dict[str, Any], kept: Path) -> None:
        if (path.is_symlink() or path.exists()) and not _same(path, kept):
            _expect(path, what)
        temporary = _beside(path)
        shutil.copy2(kept, temporary, follow_symlinks=False)
        if not temporary.is_symlink():
            _sync(temporary)
        temporary.replace(path)

    def _secure(self, path: Path, what: dict[str, Any]) -> None:
        if path.is_dir() and not path.is_symlink():
            raise StepFailed(f"{path} is a folder, and is to be a file")
        before = self._done.get(_key(path))
        if before is not None:
            what = {**({"kept": before["kept"]} if "kept" in before else {}), **what}
        elif path.is_symlink() or path.exists():
            kept = f"kept-{len(self._done)}"
            partial = self._folder / "partial"
            partial.unlink(missing_ok=True)
            shutil.copy2(path, partial, follow_symlinks=False)
            if not partial.is_symlink():
                _sync(partial)
            partial.replace(self._folder / kept)
            what = {"kept": kept, **what}
        self._note(path, what)

    def _note(self, path: Path, what: dict[str, Any]) -> None:
        if what.get("made") != "folder" or _key(path) not in self._done:
            self._done[_key(path)] = what
            self._write()

    def _write(self) -> None:
        partial = self._folder / f"{_JOURNAL}.new"
        with partial.open("w", encoding="utf-8") as sink:
            json.dump(self._done, sink)
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(self._folder / _JOURNAL)


def _beside(path: Path) -> Path:
    """The one temporary name for ``path``, so that what an interrupted write left can be found."""
    return path.with_name(f".ultraplan-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}")


def _key(path: Path) -> str:
    return os.fsencode(path).hex()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _same(path: Path, other: Path) -> bool:
    if path.is_symlink() or other.is_symlink():
        return path.is_symlink() and other.is_symlink() and path.readlink() == other.readlink()
    return path.is_file() and path.read_bytes() == other.read_bytes()


def _expect(path: Path, what: dict[str, Any]) -> None:
    if "target" in what:
        right = path.is_symlink() and os.readlink(path) == what["target"]  # noqa: PTH115  a Path would tidy it
    else:
        right = path.is_file() and not path.is_symlink() and digest_of(path) == what["sha256"]
    if not right:
        raise StepFailed(f"{path} was changed after it was fetched; it stays as it is")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
