"""POSIX ACLs in their two forms: as the kernel gives them (``system.posix_acl_*``), and as text (acl(5))."""

from __future__ import annotations

import grp
import pwd
import struct
from functools import lru_cache

Acl = frozenset[tuple[int, int | None, int]]
"""Entries: tag, id (None where the tag has none), permissions."""

_TAGS = {"user": (0x01, 0x02), "group": (0x04, 0x08), "mask": (0x10, 0x10), "other": (0x20, 0x20)}
_NAMED = (0x02, 0x08)
_VERSION = 2


def from_kernel(value: bytes) -> Acl:
    """The ACL in an extended attribute (linux/posix_acl_xattr.h). Raises ValueError."""
    if len(value) < 4 or (len(value) - 4) % 8 or struct.unpack_from("<I", value)[0] != _VERSION:
        raise ValueError("an ACL of an unknown form")
    return frozenset((tag, who if tag in _NAMED else None, permissions)
                     for tag, permissions, who in struct.iter_unpack("<HHI", value[4:]))


def from_text(text: str) -> Acl:
    """The ACL that a text writes, long or short form; names that are not known here must be numbers. Raises
    ValueError."""
    entries = []
    for line in text.replace(",", "\n").splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        kind, _, rest = line.partition(":")
        who, _, permissions = rest.rpartition(":")
        general, named = _TAGS[kind]
        bits = sum(bit for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in permissions)
        entries.append((named, _id(kind, who), bits) if who else (general, None, bits))
    return frozenset(entries)


def of_mode(mode: int) -> Acl:
    """The ACL that says no more than a mode does."""
    return frozenset(((0x01, None, mode >> 6 & 7), (0x04, None, mode >> 3 & 7), (0x20, None, mode & 7)))


@lru_cache(maxsize=4096)
def _id(kind: str, who: str) -> int:
    try:
        return pwd.getpwnam(who).pw_uid if kind == "user" else grp.getgrnam(who).gr_gid
    except KeyError:
        if who.isdecimal():
            return int(who)
        raise ValueError(f"there is no {kind} {who}") from None
