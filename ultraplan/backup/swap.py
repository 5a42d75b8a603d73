"""Put restored trees in the place of what is there, keep what was there, and put it back.

Everything is in one folder beside the destinations, on their file system: ``new/`` (what comes), ``old/`` (the
pre-image) and ``restore.json``, which says, before the first rename, what will be where. So an interrupted swap can be
undone from the folder alone.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraplan.backup.durable import sync_folder, write_new
from ultraplan.backup.errors import BackupError, Refused

PREFIX = ".ultraplan-restore-"
"""How the folders begin that restores make."""

_JOURNAL = "restore.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """One tree or file to be put in place: ``path`` as in the archive, ``to`` where it goes."""

    path: bytes
    to: Path


def check_destination(target: Path, path: bytes) -> Path:
    """Where ``path`` goes below ``target``. Raises `Refused` where a folder on the way is a link (it would lead out of
    the target), or no folder, and where the destination is a mount point."""
    to = target
    parts = [] if path == b"." else os.fsdecode(path).split("/")
    for part in parts[:-1]:
        to = to / part
        try:
            mode = to.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "no folder"
            raise Refused(f"{to} is {what}; restoring through it could write outside of {target}",
                          "restore into an empty folder with --target, and move it by hand")
    to = to.joinpath(*parts[-1:])
    if to.parent == to:
        raise Refused("/ itself cannot be replaced", "restore into a folder (--target), or name the paths you need")
    if to.is_mount():
        raise Refused(f"{to} is a mount point and cannot be replaced as a whole",
                      "restore with --target into a folder on it, and move it by hand")
    return to


class Stage:
    """The folder of one restore. ``beside``: an existing folder on the file system of all destinations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.new, self.old = folder / "new", folder / "old"

    @classmethod
    def make(cls, beside: Path, label: str) -> Stage:
        """A fresh one, 0700."""
        stage = cls(beside / f"{PREFIX}{label}-{os.urandom(4).hex()}")
        for one in (stage.folder, stage.new, stage.old):
            one.mkdir(mode=0o700)
        return stage

    def swap(self, units: Sequence[Unit]) -> None:
        """Put what is in ``new`` in place. When this raises, everything is as it was before."""
        rows: list[dict[str, Any]] = []
        for number, unit in enumerate(units):
            staged = (self.new / os.fsdecode(unit.path)).lstat()
            rows.append({"from": os.fsdecode(unit.path), "to": str(unit.to), "number": number,
                         "inode": [staged.st_dev, staged.st_ino], "made": _missing_parents(unit.to)})
        _write_durably(self.folder / _JOURNAL, json.dumps({"format": "ultraplan/restore", "version": 1, "units": rows}))
        try:
            for unit, row in zip(units, rows, strict=True):
                unit.to.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                if os.path.lexists(unit.to):
                    unit.to.rename(self.old / str(row["number"]))
                (self.new / os.fsdecode(unit.path)).rename(unit.to)
                sync_folder(unit.to.parent)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> list[Path]:
        """Put back what was there before the swap, however far it came; may be called again. The destinations that
        changed. Raises `BackupError` where something else is in the way by now: that one and those before it stay."""
        changed: list[Path] = []
        self.new.mkdir(mode=0o700, exist_ok=True)
        for row in reversed(self._rows()):
            to, old = Path(row["to"]), self.old / str(row["number"])
            ours = _inode(to) == tuple(row["inode"])
            if ours:
                away = self.new / f"undone-{row['number']}"
                to.rename(away)
            elif os.path.lexists(to) and os.path.lexists(old):
                raise BackupError(f"{to} is no longer what was restored there: it is left alone",
                                  f"what was there before the restore is {old}")
            if os.path.lexists(old):
                old.rename(to)
            for made in reversed(row["made"]):
                if Path(made).is_dir() and not any(Path(made).iterdir()):
                    Path(made).rmdir()
            if ours or os.path.lexists(to):
                changed.append(to)
            if to.parent.is_dir():
                sync_folder(to.parent)
        self.discard()
        return changed

    def finish(self) -> Path | None:
        """The restore is good: the folder of the pre-image, or None where there was nothing before."""
        remove_tree(self.new)
        if any(self.old.iterdir()):
            return self.folder
        self.discard()
        return None

    def discard(self) -> None:
        """Remove the folder; not while it holds what was there before."""
        if not (self.old.is_dir() and any(self.old.iterdir())):
            remove_tree(self.folder)

    def _rows(self) -> list[dict[str, Any]]:
        try:
            data = json.loads((self.folder / _JOURNAL).read_text())
            rows: list[dict[str, Any]] = data["units"]
        except FileNotFoundError:
            return []  # it never came to a swap
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{self.folder}: this is no folder of a restore: {error}") from None
        return rows


def open_stage(folder: Path) -> Stage:
    """The stage of an earlier restore, to undo it. Raises `BackupError`; `Refused` where others could have made it."""
    try:
        status = folder.lstat()
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode) or not folder.name.startswith(PREFIX):
        raise BackupError(f"{folder}: this is no folder of a restore", f"they are called {PREFIX}…")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise Refused(f"{folder} belongs to somebody else, or others may write there")
    return Stage(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder of ours, also where folders in it are closed to us."""
    for where, folders, _ in os.walk(folder):
        for name in folders:
            inner = Path(where, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _missing_parents(to: Path) -> list[str]:
    return [str(one) for one in reversed(to.parents) if not one.exists()]


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _write_durably(file: Path, text: str) -> None:
    write_new(file, text.encode())
    sync_folder(file.parent)
