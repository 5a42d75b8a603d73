"""What is in a tree: on the controller, in an archive, and on a host, as values that can be compared.

Names are relative to the tree's root; the root itself is the empty name. Bytes that are not UTF-8 stand in them as
`os.fsdecode` and `ultraplan.shell.plain` escape them.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from ultraplan.secrets import neutral
from ultraplan.shell import Program, Reply, join, plain, quote
from ultraplan.steps.base import StepFailed
from ultraplan.steps.pathstate import folder_of, size_text, tidy

_CHUNK = 32 * 1024
"""Bytes of names in one call of the host's library; argument lists have limits."""

_STAGE = re.compile(r"\.up-(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Za-z0-9]{16})")
"""What an interrupted operation may leave in a tree until it goes on (up_temp in the host's library)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in a tree. ``kind``: file, folder, link or other. ``mode``, ``owner`` and ``group`` of a wanted entry
    are None where any will do. ``size`` and ``sha256`` are a file's, ``target`` is a link's."""

    kind: str
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    size: int | None = None
    sha256: str | None = None
    target: str | None = None

    def same_content(self, other: Entry) -> bool:
        """Whether both are the same but for mode and owner."""
        return (self.kind, self.sha256, self.target) == (other.kind, other.sha256, other.target)

    def allows(self, found: Entry) -> bool:
        """Whether ``found`` has the mode and owner wanted; a link has no mode of its own."""
        return ((self.mode is None or self.kind == "link" or self.mode == found.mode)
                and self.owner in (None, found.owner) and self.group in (None, found.group))

    @property
    def shown(self) -> str:
        """``file 0644 app:app, 312 B, sha256 1f2e…``"""
        head = self.kind
        if self.mode is not None and self.kind != "link":
            head += f" {self.mode:04o}"
        if self.owner is not None or self.group is not None:
            head += f" {self.owner or ''}:{self.group or ''}"
        if self.kind == "link":
            return f"{head} → {storable(self.target or '')}"
        if self.kind == "file" and self.size is not None:
            head += f", {size_text(self.size)}"
        if self.sha256 is not None:
            head += f", sha256 {self.sha256[:12]}"
        return head

    def facts(self) -> list[Any]:
        """All that is compared, as JSON."""
        mode = None if self.mode is None or self.kind == "link" else f"{self.mode:04o}"
        target = None if self.target is None else storable(self.target)
        return [self.kind, mode, self.owner, self.group, self.sha256 or target]


Patterns = Annotated[list[str], Meta(description=(
    "Shell patterns of what to leave alone: with a slash, of the whole name below the root (`var/*.log`), without, of "
    "any file or folder (`*.pyc`)"))]
"""The `exclude` parameter of steps about trees; see `excluded`."""

Tree = Mapping[str, Entry]
"""Names to entries, folders before what is in them."""


def root_of(path: str) -> str:
    """``path`` tidied, as the root of a tree; raises `StepFailed` for ``/`` and for ``..`` in it."""
    root = tidy(path)
    if root == "/" or ".." in root.split("/"):
        raise StepFailed(f"{path} cannot be the root of a tree: it has to be below /, and without `..`")
    return root


def storable(name: str) -> str:
    """``name`` as text that can be stored and shown; bytes that are not UTF-8 as ``\\xNN``."""
    return neutral(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern takes ``name`` or a folder above it out. A pattern with a slash is matched against the whole
    name, another against each component."""
    parts = name.split("/")
    for pattern in patterns:
        pattern = pattern.rstrip("/")
        if "/" in pattern:
            whole = pattern.lstrip("/")
            if any(fnmatchcase("/".join(parts[:n]), whole) for n in range(1, len(parts) + 1)):
                return True
        elif any(fnmatchcase(part, pattern) for part in parts):
            return True
    return False


def of_folder(name: str, path: Path, exclude: Sequence[str] = ()) -> dict[str, Entry]:
    """The tree of a file or folder of the controller; ``name`` is what messages call it. Links in it stay links.

    Raises `StepFailed` where it cannot be read, or holds what cannot be copied.
    """
    try:
        root = path.resolve(strict=True)
        return dict(_walk(name, root, "", root.stat(), exclude))
    except OSError as error:
        raise StepFailed(f"source {name} cannot be read: {error.strerror} ({storable(str(error.filename))})") from None


def _walk(
    source: str, path: Path, name: str, info: os.stat_result, exclude: Sequence[str],
) -> Iterator[tuple[str, Entry]]:
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISREG(info.st_mode):
        digest = _digest(path, info.st_size, info.st_mtime_ns, info.st_ino)
        yield name, Entry(kind="file", mode=mode, size=info.st_size, sha256=digest)
    elif stat.S_ISLNK(info.st_mode):
        yield name, Entry(kind="link", target=os.readlink(path))  # noqa: PTH115  a Path would tidy the target
    elif stat.S_ISDIR(info.st_mode):
        yield name, Entry(kind="folder", mode=mode)
        for child in sorted(os.listdir(path)):  # noqa: PTH208  names alone
            below = f"{name}/{child}" if name else child
            if not excluded(below, exclude):
                yield from _walk(source, path / child, below, (path / child).lstat(), exclude)
    else:
        raise StepFailed(f"source {source}: {storable(name) or 'it'} is neither file, folder nor link")


@lru_cache(maxsize=65536)
def _digest(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- on a host --------------------------------------------------------------------------------------------------------

def contents(root: str) -> Program:
    """A program that tells about all that is at and below ``root``, digests and targets included; for `read`."""
    folder, _, base = root.rpartition("/")
    name = quote(f".//{base}")
    return Program(f"{_enter(folder)}\nup_tree_all {name} && up_tree_contents {name}\n")


def look(root: str, names: Iterable[str], *, everything: bool) -> Program:
    """A program that tells about ``names`` below ``root`` (tidy, absolute), with ``everything`` also what else is
    there; `read` understands it."""
    folder, _, base = root.rpartition("/")
    lines = [_enter(folder)]
    if everything:
        lines.append(f"up_tree_all {quote(f'.//{base}')} || exit")
    chunk: list[str] = []
    length = 0
    for name in names:
        word = f".//{base}/{name}" if name else f".//{base}"
        if length + len(word) > _CHUNK:
            lines.append(f"up_tree_look {join(chunk)} || exit")
            chunk, length = [], 0
        chunk.append(word)
        length += len(word.encode("utf-8", "surrogateescape"))
    if chunk:
        lines.append(f"up_tree_look {join(chunk)} || exit")
    return Program("\n".join(lines) + "\n")


def _enter(folder: str) -> str:
    return f"cd {quote(folder or '/')} 2>/dev/null || {{ printf '{_ORPHAN}'; exit 0; }}"


def lacks(reply: Reply, root: str) -> tuple[str, ...]:
    """`State.lacks` after `look`: the folder that ``root`` is in, where that is not there."""
    return (folder_of(root),) if reply.stdout == _ORPHAN.encode() else ()


_ORPHAN = "//orphan"
_SECTION = re.compile(rb"(?:^|\n)//(stat|sum|link)\n")
_STAT = re.compile(rb"(?:^|\n)([0-9a-f]+) (\d+) (\d+) (\d+) ([^\n/]*)//([^\n/]*)//\.//")
_SUM = re.compile(rb"(?:^|\n)(\\?)([0-9a-f]{64})  \.//")
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


def read(reply: Reply, root: str, owner: str | None, group: str | None) -> tuple[dict[str, Entry], dict[str, str]]:
    """What `look` found at and below ``root``, and the numeric ``uid:gid`` of each.

    ``owner`` and ``group`` say how to tell accounts: by number where those are numbers, by name where they are names,
    not at all where None. Raises `StepFailed` where the host could not look.
    """
    if reply.exit != 0:
        raise StepFailed(neutral(reply.error_text).strip() or f"cannot look at {root}: exit code {reply.exit}")
    if reply.truncated:
        raise StepFailed(f"cannot look at {root}: it holds more than one answer can tell")
    base = os.fsencode(root.rpartition("/")[2])
    pieces = _SECTION.split(reply.stdout)
    entries: dict[str, Entry] = {}
    owners: dict[str, str] = {}
    for section, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if section == b"stat":
            for found, raw in _records(_STAT, body):
                name = _below(base, raw)
                mode, uid, gid = int(found[1], 16), found[2].decode(), found[3].decode()
                entries[name] = Entry(
                    kind=_KINDS.get(stat.S_IFMT(mode), "other"), mode=stat.S_IMODE(mode), size=int(found[4]),
                    owner=_account(owner, uid, found[5]), group=_account(group, gid, found[6]))
                owners[name] = f"{uid}:{gid}"
        elif section == b"sum":
            for found, raw in _records(_SUM, body):
                name = _below(base, _unescape(raw) if found[1] else raw)
                entries[name] = replace(entries[name], sha256=found[2].decode())
        else:
            words = body.split(b"\0")
            for raw, target in zip(words[:-1:2], words[1::2], strict=True):
                name = _below(base, raw.partition(b".//")[2])
                entries[name] = replace(entries[name], target=plain(target))
    kept = sorted(name for name in entries if not _STAGE.fullmatch(name.partition("/")[0]))
    return {name: entries[name] for name in kept}, owners


def _records(pattern: re.Pattern[bytes], body: bytes) -> Iterator[tuple[re.Match[bytes], bytes]]:
    """Each match with what follows it up to the next one, without the newline that ended it."""
    heads = list(pattern.finditer(body))
    ends = [head.start() for head in heads[1:]] + [len(body.removesuffix(b"\n"))]
    for head, end in zip(heads, ends, strict=False):
        yield head, body[head.end():end]


def _below(base: bytes, raw: bytes) -> str:
    return plain(raw[len(base):].removeprefix(b"/"))


def _unescape(raw: bytes) -> bytes:
    return re.sub(rb"\\([\\nr])", lambda m: {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}[m[1]], raw)


def _account(wanted: str | None, number: str, name: bytes) -> str | None:
    if wanted is None:
        return None
    text = name.decode("utf-8", "replace")
    return number if wanted.isdigit() or text in ("", "UNKNOWN") else text
