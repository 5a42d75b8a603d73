"""Restore a set, or parts of it: look, unpack beside, compare, put in place, check; and back where anything fails."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ultraplan.backup.catalogue import Opened
from ultraplan.backup.difference import Comparing, Difference, below, differences
from ultraplan.backup.errors import BackupError, NoSuchSet, Refused
from ultraplan.backup.gnutar import Unpacking
from ultraplan.backup.members import Member
from ultraplan.backup.pipes import Pieces
from ultraplan.backup.read import Checked, Reading, listed, read_set, write_archive
from ultraplan.backup.stores.base import Store
from ultraplan.backup.swap import Stage, Unit, check_destination, remove_tree

Check = Callable[[Path], None]
"""A source's own check of what was restored; given the folder that stands for ``/``. Raises `BackupError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to restore. ``target``: the folder that stands for ``/``. ``paths``: parts of the set, all where there are
    none. ``numeric``: owners by number instead of by name."""

    target: Path
    paths: Sequence[bytes] = ()
    numeric: bool = False
    allow_devices: bool = False
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. ``preimages``: folders that hold what was there before, for `ultraplan backup restore --undo`."""

    checked: Checked
    units: Sequence[Unit]
    preimages: Sequence[Path]


def preview(store: Store, opened: Opened, reading: Reading, wanted: Wanted) -> Iterator[Difference]:
    """What a restore would change, in the order of paths; nothing is written. The set is checked first."""
    read_set(store, opened, reading)
    units = _units(store, opened, reading, wanted)
    with closing(listed(store, opened, replace(reading, tick=None))) as lines:
        yield from differences((line for line in lines if isinstance(line, Member)), wanted.target,
                               [unit.path for unit in units], Comparing(wanted.numeric, root=os.geteuid() == 0))


def restore(store: Store, opened: Opened, reading: Reading, wanted: Wanted) -> Restored:
    """Restore. The whole set is checked before the first byte is written; when this raises, everything is as before.

    Raises `Damaged`, `Untrusted`, `Refused`, `BackupError`, and what is raised to stop it.
    """
    checked = read_set(store, opened, reading)
    if checked.devices and not wanted.allow_devices:
        raise Refused(f"the set holds {checked.devices} device files",
                      "a device file gives access to a disk; --allow-devices restores them")
    units = _units(store, opened, reading, wanted)
    stages: list[tuple[Stage, list[Unit]]] = []
    swapped: list[Stage] = []
    try:
        for mine in _by_file_system(units):
            stage = Stage.make(_existing(mine[0].to.parent), opened.found.set)
            stages.append((stage, mine))
            unpack(store, opened, reading, wanted, checked, stage.new, [unit.path for unit in mine])
        for stage, mine in stages:
            stage.swap(mine)
            swapped.append(stage)
        if wanted.check is not None:
            wanted.check(wanted.target)
    except BaseException:
        for stage in reversed(swapped):
            stage.undo()
        for stage, _ in stages:
            stage.discard()
        raise
    return Restored(checked, units, [kept for stage in swapped if (kept := stage.finish())])


def rehearse(store: Store, opened: Opened, reading: Reading, scratch: Path | None = None,
             check: Check | None = None) -> Checked:
    """Level 3: restore into a scratch folder, compare everything with the list, run the source's own check.

    ``scratch``: where to make that folder; it is removed. Raises as `restore`.
    """
    checked = read_set(store, opened, reading)
    if checked.devices and os.geteuid() != 0:
        raise Refused("the set holds device files, which only root can make")
    folder = Path(tempfile.mkdtemp(prefix="ultraplan-verify-", dir=scratch))
    try:
        wanted = Wanted(target=folder, allow_devices=True)
        units = [root.encode() for root in opened.manifest.roots]
        unpack(store, opened, reading, wanted, checked, folder, units, content=True)
        if check is not None:
            check(folder)
    finally:
        remove_tree(folder)
    return checked


def unpack(store: Store, opened: Opened, reading: Reading, wanted: Wanted, checked: Checked, folder: Path,
           units: Sequence[bytes], *, content: bool = False) -> None:
    """Unpack ``units`` into ``folder``, which is empty, and compare what is there then with the list.

    With ``content``, files are read again from the disk. Raises `BackupError` where it is not all there.
    """
    whole = set(units) == {root.encode() for root in opened.manifest.roots}
    options = ["--numeric-owner"] if wanted.numeric else []
    members = [] if whole else [b"./" if unit == b"." else b"./" + unit for unit in units]
    with closing(Unpacking(folder, options, members)) as unpacking:
        write_archive(store, opened, reading, checked.pieces or Pieces(), unpacking)
        unpacking.finish()
    how = Comparing(wanted.numeric, content, root=os.geteuid() == 0)
    with closing(listed(store, opened, replace(reading, tick=None))) as lines:
        wrong = next(differences((line for line in lines if isinstance(line, Member)), folder, units, how), None)
    if wrong is not None:
        fields = "; ".join(f"{name} is {before} instead of {after}" for name, before, after in wrong.fields)
        path = wrong.path.decode("utf-8", "backslashreplace")
        raise BackupError(f"what was unpacked is not what was backed up: {path} ({fields or wrong.action})",
                          "does the file system of the target keep all of this?")


def _units(store: Store, opened: Opened, reading: Reading, wanted: Wanted) -> list[Unit]:
    """What is put where. Raises `NoSuchSet` for paths that the set does not have, `Refused` for hostile places."""
    roots = [root.encode() for root in opened.manifest.roots]
    paths = sorted(set(wanted.paths), key=lambda path: path.split(b"/"))
    paths = [path for path in paths if not any(below(path, [other]) for other in paths if other != path)]
    if paths:
        with closing(listed(store, opened, replace(reading, tick=None))) as lines:
            missing = set(paths) - {line.path for line in lines if isinstance(line, Member) and line.path in set(paths)}
        if missing:
            raise NoSuchSet(f"{opened.found.ref} has no {min(missing).decode('utf-8', 'backslashreplace')!r}",
                            "`ultraplan backup show --files` lists what it has")
        links = _split_links(store, opened, reading, paths)
        if links:
            raise Refused(f"{links[0]!r} is another name of a file outside of what is restored", "restore that, too")
    target = wanted.target.resolve()
    if not target.is_dir():
        raise Refused(f"{target}: there is no such folder", "make it")
    return [Unit(path, check_destination(target, path)) for path in paths or roots]


def _split_links(store: Store, opened: Opened, reading: Reading, paths: Sequence[bytes]) -> list[str]:
    """Hard links whose first name would not be restored with them."""
    with closing(listed(store, opened, replace(reading, tick=None))) as lines:
        return [line.path.decode("utf-8", "backslashreplace") for line in lines
                if isinstance(line, Member) and line.kind == "hardlink" and below(line.path, paths)
                and not below(line.link or b"", paths)]


def _by_file_system(units: Sequence[Unit]) -> list[list[Unit]]:
    """Units that can be renamed into place from one folder."""
    groups: dict[int, list[Unit]] = {}
    for unit in units:
        groups.setdefault(_existing(unit.to.parent).stat().st_dev, []).append(unit)
    return list(groups.values())


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest one above it that is there."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())
