"""Listings of file trees that can be compared: what it takes to say "nothing changed", "byte for byte as before"."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""type (file, directory, link, fifo, socket, device, absent), mode ("0644"), uid, gid; for files size and sha256, for
links target, for devices device; xattrs (hex) where there are any; mtime_ns and ctime_ns where asked for."""
Tree = dict[str, Entry]
"""From absolute paths, as the host sees them, to entries."""

_TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
}


def listing(root: Path, tops: list[str], times: bool = False) -> Tree:
    """All that lies at and below the absolute paths `tops` of the root file system seen at `root`; a top that does not
    exist is listed as absent. Other file systems mounted below are included."""
    tree: Tree = {}
    for top in tops:
        start = root / top.lstrip("/")
        found = False
        for path in _walk(start):
            name = "/" + str(path.relative_to(root)) if path != root else "/"
            try:
                tree[name] = entry(path, times)
            except FileNotFoundError:
                continue  # gone since its folder was read
            found = True
        if not found:
            tree[top] = {"type": "absent"}
    return dict(sorted(tree.items()))


def changes(upper: Path, lower: Path, times: bool = False) -> Tree:
    """What an overlay's upper layer makes different from the lower one. Complete, for it is how the disk is made, and
    quick, for nothing else needs to be read.

    Without times, what is as in the lower layer is left out, so that a file which was changed and restored is no
    change. With times, whatever the upper layer holds is listed: even a file that was only touched.
    """
    tree = _changes(upper, lower, "/", times)
    return dict(sorted(tree.items()))


def _changes(above: Path, below: Path, name: str, times: bool) -> Tree:
    """`changes` of the one thing that the host sees as `name` and that is `above` in the upper layer."""
    if _is_whiteout(above):
        return {name: {"type": "absent"}} if os.path.lexists(below) else {}
    folder = above.is_dir() and not above.is_symlink()
    merged = folder and below.is_dir() and not below.is_symlink() and not _is_opaque(above)
    if folder and not merged:
        return _replaced(above, below, name, times)
    now = entry(above, times)
    tree = {} if not times and os.path.lexists(below) and now == entry(below) else {name: now}
    for child in _children(above) if folder else ():
        tree |= _changes(above / child, below / child, f"{name.rstrip('/')}/{child}", times)
    return tree


def _replaced(above: Path, below: Path, name: str, times: bool) -> Tree:
    """A folder that hides what is below: it is listed whole, unless it is the same again."""
    whole = _below(above, times)
    again = not times and below.is_dir() and not below.is_symlink() and _children(above) == _children(below)
    if again and _below(below) == whole:
        return {}
    return {name + path: what for path, what in whole.items()}


def _below(folder: Path, times: bool = False) -> Tree:
    """The listing of a folder: "" is the folder, "/x" what is in it."""
    return {"" if p == folder else f"/{p.relative_to(folder)}": entry(p, times) for p in _walk(folder)}


def entry(path: Path, times: bool = False) -> Entry:
    """What is at `path` itself; links are not followed."""
    info = path.lstat()
    kind = _TYPES[stat.S_IFMT(info.st_mode)]
    result: Entry = {"type": kind, "mode": f"{stat.S_IMODE(info.st_mode):04o}", "uid": info.st_uid, "gid": info.st_gid}
    if kind == "file":
        with path.open("rb") as file:
            result |= {"size": info.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    elif kind == "link":
        result["target"] = os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")
    elif kind == "device":
        result["device"] = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    names = [n for n in os.listxattr(path, follow_symlinks=False) if not n.startswith("trusted.overlay.")]
    if names:
        result["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in sorted(names)}
    if times:
        result |= {"mtime_ns": info.st_mtime_ns, "ctime_ns": info.st_ctime_ns}
    return result


def _children(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths


def _walk(top: Path) -> Iterator[Path]:
    if os.path.lexists(top):
        yield top
    if top.is_dir() and not top.is_symlink():
        for name in _children(top):
            yield from _walk(top / name)


def _is_whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False
