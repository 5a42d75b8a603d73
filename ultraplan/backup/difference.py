"""What differs between the members of a set and what lies on a disk. Both come sorted, so it is one merge."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ultraplan.backup import acl
from ultraplan.backup.members import BLOCK, CHAR, FIFO, FILE, FOLDER, HARDLINK, SYMLINK, Member, mtime_text

_CHUNK = 1 << 20
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFCHR: CHAR,
          stat.S_IFBLK: BLOCK, stat.S_IFSOCK: "socket"}
_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_ROOTS_ONLY = ("security.", "trusted.")

CREATE, CHANGE, REMOVE = "create", "change", "remove"


@dataclass(frozen=True, slots=True)
class Difference:
    """One path at which restoring would do something. ``fields``: what is different, and how (before, after)."""

    action: str
    path: bytes
    kind: str
    fields: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Comparing:
    """How to compare. ``numeric``: owners by number instead of name. ``content``: read files of equal size to the
    end. ``root``: owners, and attributes that only root sets, count."""

    numeric: bool = False
    content: bool = True
    root: bool = True


def below(path: bytes, units: Sequence[bytes]) -> bool:
    """Whether ``path`` is one of ``units``, or inside one."""
    return any(unit in (b".", path) or path.startswith(unit + b"/") for unit in units)


def differences(members: Iterable[Member], base: Path, units: Sequence[bytes], how: Comparing) -> Iterator[Difference]:
    """Where what lies below ``base`` at ``units`` is not what ``members`` (in the order of an archive) are.

    Raises OSError where it cannot be looked at.
    """
    wanted = (member for member in members if below(member.path, units))
    found = _found(os.fsencode(base), units)
    member, entry = next(wanted, None), next(found, None)
    while member is not None or entry is not None:
        if entry is None or (member is not None and _key(member.path) < _key(entry[0])):
            assert member is not None  # noqa: S101 - one of the two is there
            yield Difference(CREATE, member.path, member.kind)
            member = next(wanted, None)
        elif member is None or _key(entry[0]) < _key(member.path):
            yield Difference(REMOVE, entry[0], _kind(entry[1]))
            entry = next(found, None)
        else:
            fields = tuple(_fields(member, entry[1], os.fsencode(base), how))
            if fields:
                yield Difference(CHANGE, member.path, member.kind, fields)
            member, entry = next(wanted, None), next(found, None)


def _key(path: bytes) -> list[bytes]:
    return [] if path == b"." else path.split(b"/")


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "other")


def _join(base: bytes, path: bytes) -> bytes:
    return base if path == b"." else os.path.join(base, path)  # noqa: PTH118 - bytes


def _found(base: bytes, units: Sequence[bytes]) -> Iterator[tuple[bytes, os.stat_result]]:
    """What lies at ``units``, in the order of an archive. Sockets are not backed up, so they are passed over."""
    for unit in units:
        try:
            status = os.lstat(_join(base, unit))
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from _walk(base, unit, status)


def _walk(base: bytes, path: bytes, status: os.stat_result) -> Iterator[tuple[bytes, os.stat_result]]:
    if stat.S_ISSOCK(status.st_mode):
        return
    yield path, status
    if not stat.S_ISDIR(status.st_mode):
        return
    for name in sorted(os.listdir(_join(base, path))):  # noqa: PTH208 - bytes
        inner = name if path == b"." else path + b"/" + name
        try:
            below_it = os.lstat(_join(base, inner))
        except FileNotFoundError:  # it went while we looked
            continue
        yield from _walk(base, inner, below_it)


def _fields(member: Member, status: os.stat_result, base: bytes, how: Comparing) -> Iterator[tuple[str, str, str]]:
    path = _join(base, member.path)
    kind = _kind(status)
    if member.kind == HARDLINK:
        target = _join(base, member.link or b"")
        try:
            same = os.lstat(target)
        except OSError:
            same = None
        if same is None or (same.st_ino, same.st_dev) != (status.st_ino, status.st_dev):
            yield "type", kind, f"another name of {_shown(member.link or b'')}"
        return
    if kind != member.kind:
        yield "type", kind, member.kind
        return
    if kind == SYMLINK:
        link = os.readlink(path)  # noqa: PTH115 - bytes
        if link != member.link:
            yield "link", _shown(link), _shown(member.link or b"")
    elif stat.S_IMODE(status.st_mode) != member.mode:
        yield "mode", f"{stat.S_IMODE(status.st_mode):04o}", f"{member.mode:04o}"
    if kind == FILE:
        if status.st_size != member.size:
            yield "size", str(status.st_size), str(member.size)
        elif how.content and (digest := _sha256(path)) != member.sha256:
            yield "content", f"sha256 {digest[:12]}…", f"sha256 {(member.sha256 or '')[:12]}…"
    if kind in (CHAR, BLOCK) and (os.major(status.st_rdev), os.minor(status.st_rdev)) != member.device:
        there = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        yield "device", there, ":".join(map(str, member.device or ()))
    if how.root:
        yield from _owner(member, status, how.numeric)
    if status.st_mtime_ns != member.mtime:
        yield "mtime", mtime_text(status.st_mtime_ns), mtime_text(member.mtime)
    yield from _attributes(member, path, status, how)


def _owner(member: Member, status: os.stat_result, numeric: bool) -> Iterator[tuple[str, str, str]]:
    uid, gid = member.uid, member.gid
    if not numeric:
        uid, gid = _user(member.user, uid), _group(member.group, gid)
    if status.st_uid != uid:
        yield "owner", str(status.st_uid), str(uid)
    if status.st_gid != gid:
        yield "group", str(status.st_gid), str(gid)


@lru_cache(maxsize=4096)
def _user(name: bytes, otherwise: int) -> int:
    try:
        return pwd.getpwnam(name.decode()).pw_uid if name else otherwise
    except (KeyError, UnicodeDecodeError):
        return otherwise


@lru_cache(maxsize=4096)
def _group(name: bytes, otherwise: int) -> int:
    try:
        return grp.getgrnam(name.decode()).gr_gid if name else otherwise
    except (KeyError, UnicodeDecodeError):
        return otherwise


def _attributes(member: Member, path: bytes, status: os.stat_result, how: Comparing) -> Iterator[tuple[str, str, str]]:
    there = _xattrs(path)
    acls = {name: there.pop(name, None) for name in (_ACCESS, _DEFAULT)}
    wanted = {os.fsdecode(name): value for name, value in member.xattrs.items()}
    for name in sorted(there.keys() | wanted.keys()):
        if not how.root and name.startswith(_ROOTS_ONLY):
            continue
        if there.get(name) != wanted.get(name):
            yield f"attribute {name}", _bytes(there.get(name)), _bytes(wanted.get(name))
    if member.kind == SYMLINK:
        return
    for name, text in ((_ACCESS, member.acl), (_DEFAULT, member.default_acl)):
        present = acls[name]
        got = acl.from_kernel(present) if present is not None else None
        want = acl.from_text(text.decode()) if text is not None else None
        plain = acl.of_mode(status.st_mode)
        if (got or plain) != (want or plain):
            yield name.rpartition("_")[2] + " ACL", _acl(got), _acl(want)


def _xattrs(path: bytes) -> dict[str, bytes]:
    found = {}
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise
    for name in names:
        try:
            found[name] = os.getxattr(path, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                raise
    return found


def _sha256(path: bytes) -> str:
    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "backslashreplace"))


def _bytes(value: bytes | None) -> str:
    return "none" if value is None else f"{len(value)} bytes"


def _acl(found: acl.Acl | None) -> str:
    return "none" if found is None else f"{len(found)} entries"
