"""From the tree that is wanted and the one that was found to the change between them: diff, programs, prediction."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from ultraplan.shell import Program, Upload, join, quote
from ultraplan.steps.base import Change, Diff, FieldDiff, StepFailed
from ultraplan.steps.manifests import Entry, Tree, excluded, storable
from ultraplan.steps.pathstate import size_text

Content = Callable[[str], BinaryIO]
"""Opens a wanted file by its name in the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A tree that is to be at ``root`` (tidy, absolute, not ``/``) on a host.

    ``owner`` and ``group`` as the step was given them; None leaves those of what is there. ``free``: folders whose
    mode is that of the tree only where they are new. ``delete``: whether what is not in ``tree`` (and not ``exclude``d)
    is removed, and what is of another kind replaced.
    """

    root: str
    tree: Tree
    content: Content
    owner: str | None = None
    group: str | None = None
    free: Collection[str] = ()
    delete: bool = False
    exclude: Sequence[str] = ()

    def path(self, name: str) -> str:
        """The absolute path of ``name``."""
        return f"{self.root}/{name}" if name else self.root

    def entry(self, name: str) -> Entry:
        """What is wanted at ``name``, as far as it is compared."""
        return replace(self.tree[name], owner=self.owner, group=self.group)

    def facts(self, found: Tree) -> dict[str, Any]:
        """What is compared of ``found``, as JSON."""
        return {"entries": {
            storable(name): entry.facts() for name, entry in sorted(found.items())
            if not (name and excluded(name, self.exclude))}}


@dataclass(slots=True)
class _Work:
    """The entries of the program, and what they come to."""

    puts: dict[str, list[str]]
    metas: list[str]
    drops: list[str]

    @property
    def paths(self) -> list[str]:
        return [*self.drops, *self.puts, *self.metas]


def decide(wish: Wish, found: Tree, owners: Mapping[str, str]) -> Change | None:
    """The change that makes ``found`` what is wished for, or None. ``owners``: numeric ``uid:gid`` of what was found.

    Raises `StepFailed` where something is in the way, or would be written through a symbolic link.
    """
    work = _compare(wish, found)
    if not work.paths:
        return None
    gone = {*work.drops, *work.puts}
    after = {name: entry for name, entry in found.items() if gone.isdisjoint((name, *_above(name)))}
    after |= {name: wish.entry(name) for names in work.puts.values() for name in names}
    for name in work.metas:
        entry = wish.entry(name)
        after[name] = replace(after[name], mode=_mode(wish, name, found), owner=entry.owner, group=entry.group)
    return Change(
        summary=_summary(wish, found, work),
        diff=_diff(wish, found, work, after),
        forward=_forward(wish, found, owners, work),
        reverse=Program(f"up_tree_undo {quote(wish.root)}\n"),
        after=wish.facts(after),
        touches=tuple(f"path:{wish.path(name)}" for name in dict.fromkeys(["", *work.paths])),
    )


def _compare(wish: Wish, found: Tree) -> _Work:
    work = _Work({}, [], [])
    held = {above for name in found if name and excluded(name, wish.exclude) for above in _above(name)}
    tops: dict[str, str] = {}
    for name, wanted in wish.tree.items():
        parent = name.rpartition("/")[0]
        if name and parent in tops:
            tops[name] = tops[parent]
            work.puts[tops[parent]].append(name)
            continue
        there = found.get(name)
        if there is None or (there.kind != wanted.kind and _may_replace(wish, name, there, held)):
            work.puts[name] = [name]
            if wanted.kind == "folder":
                tops[name] = name
        elif wanted.kind != "folder" and not wanted.same_content(there):
            work.puts[name] = [name]
        elif not _wanted_access(wish, name).allows(there):
            if wanted.kind == "link":
                work.puts[name] = [name]
            else:
                work.metas.append(name)
    if wish.delete:
        gone = {name for name in work.puts if name in found}
        for name in found:
            if name in wish.tree or name in held or (name and excluded(name, wish.exclude)):
                continue
            if gone.isdisjoint(_above(name)):
                gone.add(name)
                work.drops.append(name)
    return work


def _above(name: str) -> list[str]:
    """The names of the folders that ``name`` is in, the root among them."""
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts))] if name else []


def _wanted_access(wish: Wish, name: str) -> Entry:
    entry = wish.entry(name)
    return replace(entry, mode=None) if name in wish.free else entry


def _mode(wish: Wish, name: str, found: Tree) -> int | None:
    wanted = _wanted_access(wish, name).mode
    return wanted if wanted is not None else found[name].mode


def _may_replace(wish: Wish, name: str, there: Entry, held: set[str]) -> bool:
    """True, or `StepFailed` with what is in the way."""
    path, wanted = storable(wish.path(name)), wish.tree[name]
    if there.kind == "link" and wanted.kind == "folder" and (not name or not wish.delete):
        raise StepFailed(f"{path} is a symbolic link on the host; nothing is written through it")
    if there.kind == "folder" and name in held:
        raise StepFailed(f"{path} is a folder with excluded things in it; it cannot become a {wanted.kind}")
    if "folder" in (there.kind, wanted.kind) and not (wish.delete and name):
        what = {"other": "neither file, folder nor link"}.get(there.kind, f"a {there.kind}")
        hint = " (`delete: true` replaces it)" if name else ""
        raise StepFailed(f"{path} is {what} on the host, and is to be a {wanted.kind}{hint}")
    return True


def _summary(wish: Wish, found: Tree, work: _Work) -> str:
    put = [name for names in work.puts.values() for name in names]
    counts = {
        "create": sum(name not in found for name in put),
        "change": sum(name in found for name in put) + len(work.metas),
        "remove": len(work.drops),
    }
    size = sum(wish.tree[name].size or 0 for name in put if wish.tree[name].kind == "file")
    parts = [f"{verb} {count}" for verb, count in counts.items() if count]
    return ", ".join(parts + ([f"send {size_text(size)}"] if put else []))


def _diff(wish: Wish, found: Tree, work: _Work, after: Tree) -> tuple[Diff, ...]:
    rows = {}
    for name in [*(name for names in work.puts.values() for name in names), *work.metas]:
        there = found.get(name)
        rows[name] = FieldDiff(_label(wish, name), None if there is None else there.shown, after[name].shown)
    below = Counter(above for name in found for above in _above(name))
    for name in work.drops:
        note = f"with {below[name]} below it" if below[name] else None
        rows[name] = FieldDiff(_label(wish, name), found[name].shown, None, note)
    return tuple(rows[name] for name in sorted(rows))


def _label(wish: Wish, name: str) -> str:
    return storable(name) if name else wish.root


# -- programs ---------------------------------------------------------------------------------------------------------

def _forward(wish: Wish, found: Tree, owners: Mapping[str, str], work: _Work) -> Program:
    entries, stage, members = [], {}, []
    for name in work.drops:
        entries.append(f"drop {quote(wish.path(name))}")
    for number, (name, names) in enumerate(work.puts.items()):
        entries.append(f"put {quote(wish.path(name))} {number}")
        for each in names:
            below = each[len(name):].lstrip("/")
            stage[each] = f"{number}/{below}" if below else str(number)
            members.append(each)
    for name in work.metas:
        entries.append(f"meta {quote(wish.path(name))} 0{_mode(wish, name, found) or 0:04o} {quote(chown(wish))}")
    folders = sorted({above for name in work.paths for above in _above(name)})
    uploads: tuple[Upload, ...] = ()
    fill = "up_tree_stage() { :; }"
    if members:
        packed = _pack(wish, stage, members, owners)
        uploads = (Upload(packed.name, packed),)
        untar = [f'up_tree_untar "$UP_TMP"/{packed.name}']
        links = [f"./{stage[name]}" for name in members if wish.tree[name].kind == "link"]
        if chown(wish):  # busybox's tar does not give links away
            untar += [f'( cd -- "$up_tmp" && chown -h -- {quote(chown(wish))} {join(links[n:n + 200])} )'
                      for n in range(0, len(links), 200)]
        fill = "up_tree_stage() {\n" + " &&\n".join(untar) + "\n}"
    body = " &&\n".join(f'"$1" {entry}' for entry in entries)
    text = (f"{known_accounts(wish.owner, wish.group)}{fill}\nup_tree_entries() {{\n{body}\n}}\n"
            f"up_tree_apply {join([wish.root, *map(wish.path, folders)])}\n")
    return Program(text, uploads)


def chown(wish: Wish) -> str:
    """What chown takes; empty where nothing was asked for."""
    return (wish.owner or "") + (f":{wish.group}" if wish.group is not None else "")


def known_accounts(owner: str | None, group: str | None) -> str:
    """Shell text that ends the program where the host does not know an account by its name."""
    lines = []
    for kind, what, name in (("uid", "account", owner), ("gid", "group", group)):
        if name is not None and not name.isdigit():
            lines.append(f'[ -n "$(up_known {kind} {quote(name)})" ] || '
                         f"up_fail {quote(f'this host knows no {what} {name}')}\n")
    return "".join(lines)


@cache
def scratch() -> Path:
    """A folder for what is packed, which goes when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="ultraplan-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _pack(wish: Wish, stage: Mapping[str, str], names: Sequence[str], owners: Mapping[str, str]) -> Path:
    """A tar of ``names`` as they are to be in the stage; the same wish gives the same file."""
    infos = [(name, _member(wish, name, stage[name], owners.get(name))) for name in names]
    described = "\0".join(
        f"{info.get_info()}{wish.tree[name].sha256}{wish.root}" for name, info in infos)
    digest = hashlib.sha256(described.encode("utf-8", "surrogateescape")).hexdigest()
    packed = scratch() / f"tree-{digest[:32]}.tar"
    if not packed.exists():
        handle, partial = tempfile.mkstemp(dir=scratch())  # 0600
        with os.fdopen(handle, "wb") as sink, tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT,
                                                           errors="surrogateescape") as tar:
            for name, info in infos:
                if info.isreg():
                    with wish.content(name) as content:
                        tar.addfile(info, content)
                else:
                    tar.addfile(info)
        Path(partial).rename(packed)
    return packed


def _member(wish: Wish, name: str, staged: str, numbers: str | None) -> tarfile.TarInfo:
    entry = wish.tree[name]
    info = tarfile.TarInfo(staged)
    info.mode = entry.mode if entry.mode is not None else 0o777  # a link
    uid, _, gid = (numbers or "0:0").partition(":")
    info.uid, info.gid = int(uid), int(gid)
    if wish.owner is not None:
        info.uid, info.uname = (int(wish.owner), "") if wish.owner.isdigit() else (65534, wish.owner)
    if wish.group is not None:
        info.gid, info.gname = (int(wish.group), "") if wish.group.isdigit() else (65534, wish.group)
    if entry.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.target or ""
    else:
        info.size = entry.size or 0
    return info
