"""The files that a plan is made of: read once, remembered, and stored with a run so that it can go on without them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


class SourceMissing(Exception):
    """A file that the plan names cannot be read; the message says which and why."""


class Sources:
    """Reads plan files, includes and templates, and keeps what it read. ``kept``: read from there, never from disk."""

    def __init__(self, kept: Mapping[str, bytes] | None = None) -> None:
        self._kept = kept
        self.files: dict[str, bytes] = dict(kept or {})
        self.trees: dict[str, str] = {}

    def read(self, path: str | Path) -> bytes:
        """The bytes of a file; raises `SourceMissing`."""
        name = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links, and a run's names must not move
        if name not in self.files:
            if self._kept is not None:
                raise SourceMissing(f"{path}: not among the files that the run was opened with")
            try:
                self.files[name] = Path(name).read_bytes()
            except OSError as error:
                raise SourceMissing(f"{path}: {error.strerror}") from None
        return self.files[name]

    def there(self, path: str | Path) -> bool:
        """Whether a file or folder is there to be read (or was, for a run that goes on with what it kept)."""
        try:
            return self._kept is not None or Path(path).exists()
        except (OSError, ValueError):  # too long, no permission, a NUL
            return False

    def note_tree(self, path: Path) -> str:
        """Remember the digest of a file or folder that steps send to hosts; raises `SourceMissing`."""
        name = os.path.abspath(path)  # noqa: PTH100
        if name not in self.trees:
            try:
                self.trees[name] = tree_digest(Path(name))
            except OSError as error:
                raise SourceMissing(f"{path}: {error.strerror}") from None
        return self.trees[name]

    def digests(self) -> dict[str, str]:
        """Path to SHA-256 of everything read and sent so far."""
        return {**{name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}, **self.trees}


def tree_digest(path: Path) -> str:
    """SHA-256 over names, modes and contents of a file or of all that a folder holds. Raises OSError."""
    digest = hashlib.sha256()
    for entry in [path, *_below(path)]:
        status = entry.lstat()
        digest.update(f"{entry.relative_to(path)}\0{status.st_mode:o}\0".encode("utf-8", "surrogateescape"))
        if entry.is_symlink():
            digest.update(os.fsencode(entry.readlink()))
        elif entry.is_file():
            with entry.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _below(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            yield entry
            yield from _below(entry)
