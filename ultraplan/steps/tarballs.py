"""Archives of the controller as trees: what is in them, and what in them is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO

from ultraplan.secrets import neutral
from ultraplan.shell import plain
from ultraplan.steps.base import StepFailed
from ultraplan.steps.manifests import Entry, storable
from ultraplan.steps.treechange import scratch

FORMATS = {
    ".tar": "tar", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tbz2": "bz2", ".tar.xz": "xz", ".txz": "xz",
    ".tar.zst": "zst", ".tzst": "zst",
}
"""File name endings, and the compression they stand for."""


def format_of(name: str) -> str:
    """tar, gz, bz2, xz or zst, from the end of a file's name; raises ValueError with what would be right."""
    for ending, found in FORMATS.items():
        if name.lower().endswith(ending):
            return found
    what = "zip archives are not supported" if name.lower().endswith(".zip") else f"{name!r} does not say its format"
    raise ValueError(f"{what}; a name ends in {', '.join(FORMATS)}")


def leads_out(name: str, target: str) -> bool:
    """Whether a symbolic link ``name`` in a tree may lead out of it. Only ``..`` at the beginning are followed: they go
    up real folders; one after another name might come out of a link, and counts as leading out."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or ups > name.count("/") or ".." in parts[ups:]


@dataclass(frozen=True, slots=True)
class Tarball:
    """The tree of an archive. ``free``: folders that the archive does not mention, only what is in them."""

    tree: dict[str, Entry]
    free: frozenset[str]
    content: Callable[[str], BinaryIO]


def of_archive(name: str, path: Path, strip: int, outside_links: bool) -> Tarball:
    """The tree in an archive of the controller, without its first ``strip`` name components.

    Raises `StepFailed` where it cannot be read, and where it holds absolute names, ``..``, devices, things below
    links, or links that lead out (symbolic ones only without ``outside_links``).
    """
    try:
        if format_of(name) == "zst":
            raise StepFailed(f"source {name}: .tar.zst cannot be read here; copy it to the host and use `src`")
        info = path.stat()
        return _read(name, path, strip, outside_links, info.st_size, info.st_mtime_ns)
    except ValueError as error:
        raise StepFailed(f"source: {error}") from None
    except OSError as error:
        raise StepFailed(f"source {name} cannot be read: {error.strerror or error}") from None
    except (tarfile.TarError, EOFError, RecursionError) as error:
        raise StepFailed(f"source {name} is no tar archive, or a damaged one: {neutral(str(error))}") from None


@lru_cache(maxsize=16)
def _read(source: str, path: Path, strip: int, outside_links: bool, size: int, mtime_ns: int) -> Tarball:
    found: dict[str, Entry] = {"": Entry(kind="folder", mode=0o755)}
    told: set[str] = set()
    places: dict[str, str] = {}
    wholes: dict[str, Entry] = {}
    with tarfile.open(path, errors="surrogateescape") as tar:
        for member in tar:
            whole = _name(source, member.name)
            name = "/".join(whole.split("/")[strip:]) if whole else ""
            entry = _entry(source, whole, name, member, tar, wholes, outside_links)
            wholes[whole] = entry
            if not name and (whole or entry.kind != "folder"):
                continue
            if name not in found or found[name].kind != "folder" or entry.kind == "folder":
                found[name] = entry
            else:
                raise StepFailed(f"source {source}: {storable(whole)!r} is a folder and something else as well")
            told.add(name)
            places[name] = whole
    for name in list(found):
        parts = name.split("/")
        for above in ("/".join(parts[:n]) for n in range(1, len(parts))):
            if found.setdefault(above, Entry(kind="folder", mode=0o755)).kind != "folder":
                raise StepFailed(
                    f"source {source}: {storable(name)!r} lies below {storable(above)!r}, which is no folder")
    tree = {name: found[name] for name in sorted(found)}
    key = hashlib.sha256(f"{path}\0{size}\0{mtime_ns}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    store = _Store(path, key)
    return Tarball(tree, frozenset(tree) - told, lambda name: store.open(tree[name]))


def _name(source: str, raw: str) -> str:
    name = plain(raw.encode("utf-8", "surrogateescape"))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise StepFailed(f"source {source} holds {storable(name)!r}: names have to be relative, without `..`")
    return "/".join(parts)


def _entry(
    source: str, whole: str, name: str, member: tarfile.TarInfo, tar: tarfile.TarFile, wholes: dict[str, Entry],
    outside_links: bool,
) -> Entry:
    mode = member.mode & 0o7777
    if member.isdir():
        return Entry(kind="folder", mode=mode)
    if member.issym():
        target = plain(member.linkname.encode("utf-8", "surrogateescape"))
        if not outside_links and leads_out(name, target):
            raise StepFailed(f"source {source}: the link {storable(whole)!r} leads out of the archive, to "
                             f"{storable(target)!r} (`outside_links: true` allows that)")
        return Entry(kind="link", target=target)
    if member.islnk():
        linked = wholes.get(_name(source, member.linkname))
        if linked is None or linked.kind != "file":
            raise StepFailed(f"source {source}: {storable(whole)!r} is a hard link to nothing in the archive")
        return linked
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise StepFailed(f"source {source}: {storable(whole)!r} is neither file, folder nor link")
    with content:
        return Entry(kind="file", mode=mode, size=member.size, sha256=_digest(content))


def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := content.read(1 << 18):
        digest.update(piece)
    return digest.hexdigest()


class _Store:
    """The files of an archive, unpacked once under their digests: a compressed archive cannot be read in any order."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key

    def open(self, entry: Entry) -> BinaryIO:
        folder = scratch() / self._key
        wanted = folder / (entry.sha256 or "")
        if not wanted.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            with tarfile.open(self._path, errors="surrogateescape") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is not None:
                        self._keep(content, folder)
        return wanted.open("rb")

    @staticmethod
    def _keep(content: IO[bytes], folder: Path) -> None:
        handle, partial = tempfile.mkstemp(dir=folder)  # 0600
        with content, os.fdopen(handle, "w+b") as sink:
            shutil.copyfileobj(content, sink)
            sink.seek(0)
            digest = _digest(sink)
        Path(partial).rename(folder / digest)
