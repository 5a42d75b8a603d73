"""The sets of a store: which are committed, who vouches for them, their notes; and removing them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ultraplan.backup.errors import BackupError, Damaged, NoSuchSet, StoreError, Untrusted
from ultraplan.backup.keys import check_signature
from ultraplan.backup.manifest import LARGEST, Manifest, Parent, moment, read_manifest, timestamp
from ultraplan.backup.names import (
    COMMIT,
    HELD,
    MANIFEST,
    SIGNATURE,
    VERIFIED,
    WHOLE,
    begun,
    check_name,
    is_key,
)
from ultraplan.backup.stores.base import Store

LEVELS = ("manifest", "read", "restore")
"""How thoroughly a set can be verified, the least first."""

REMAINS_KEPT = timedelta(days=7)
"""Remains without COMMIT may be a backup under way; older ones are not."""

_COMMIT_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9.]+)")
_HOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SMALL = 64 << 10


@dataclass(frozen=True, slots=True)
class Found:
    """A committed set in a store, as listed. ``objects``: name to size. ``held``: who still needs it."""

    name: str
    set: str
    objects: Mapping[str, int]

    @property
    def ref(self) -> str:
        """How people name it: ``NAME/SET``."""
        return f"{self.name}/{self.set}"

    @property
    def held(self) -> Sequence[str]:
        """Who asked that it stays."""
        return [name.removeprefix(HELD) for name in self.objects if name.startswith(HELD)]

    @property
    def size(self) -> int:
        """Bytes it takes in the store."""
        return sum(self.objects.values())


@dataclass(frozen=True, slots=True)
class Opened:
    """A set that passed level 1: committed, signed by somebody who is trusted, all objects there in their sizes."""

    found: Found
    manifest: Manifest
    manifest_sha256: str

    @property
    def parent(self) -> Parent:
        """This set, as the next one names it."""
        return Parent(self.manifest.set, self.manifest_sha256)


@dataclass(frozen=True, slots=True)
class Verified:
    """The note that a set passed ``level`` at ``at``. It carries no trust: it only keeps sets from being pruned."""

    level: str
    at: datetime


class _Small:
    """Takes a small object; refuses a large one before it fills the memory."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self.content = b""

    def write(self, data: bytes) -> None:
        self.content += data
        if len(self.content) > self._most:
            raise Damaged(f"{self._what} is larger than any that is written")


def fetch(store: Store, key: str, most: int = _SMALL) -> bytes:
    """A small object. Raises `StoreError`, and `Damaged` where it is larger than ``most`` bytes."""
    sink = _Small(most, key)
    store.get(key, sink)
    return sink.content


def find(store: Store, name: str | None = None) -> tuple[list[Found], list[Found]]:
    """The committed sets (of ``name``, or all) by name and time, and the remains of others."""
    prefix = f"{check_name(name)}/" if name is not None else ""
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for stored in store.list(prefix):
        parts = stored.key.split("/")
        if len(parts) == 3 and begun(parts[1]) is not None:
            groups.setdefault((parts[0], parts[1]), {})[parts[2]] = stored.size
    found = [Found(where, set_id, objects) for (where, set_id), objects in sorted(groups.items())]
    return [one for one in found if COMMIT in one.objects], [one for one in found if COMMIT not in one.objects]


def choose(store: Store, name: str, which: str = "latest") -> Found:
    """The set of ``name`` that ``which`` means: ``latest``, or the (start of the) name of a set.

    Raises `NoSuchSet` where there is none, or where the start is that of several.
    """
    sets, remains = find(store, name)
    if not sets:
        partly = f" ({len(remains)} incomplete)" if remains else ""
        raise NoSuchSet(f"{store.url} has no backup of {name}{partly}", "`ultraplan backup list` shows what there is")
    if which == "latest":
        return sets[-1]
    fitting = [one for one in sets if one.set.startswith(which)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NoSuchSet(f"{which!r} is the start of {len(fitting)} sets of {name}", "give more of it")
    if any(one.set.startswith(which) for one in remains):
        raise NoSuchSet(f"{name}/{which} was never completed: it has no COMMIT, so it cannot be used")
    raise NoSuchSet(f"{store.url} has no set {which!r} of {name}", "`ultraplan backup list` shows what there is")


def open_set(store: Store, found: Found, signers: Iterable[str]) -> Opened:
    """Level 1. Raises `Damaged` where the set is not whole, `Untrusted` where nobody trusted signed it."""
    key = f"{found.ref}/"
    missing = [name for name in WHOLE if name not in found.objects]
    if missing:
        raise Damaged(f"{found.ref}: {missing[0]} is not there", "use another set; `ultraplan backup list` shows them")
    digests = _commit(fetch(store, key + COMMIT), found)
    content, signature = fetch(store, key + MANIFEST, LARGEST), fetch(store, key + SIGNATURE)
    for name, got in ((MANIFEST, content), (SIGNATURE, signature)):
        if hashlib.sha256(got).hexdigest() != digests[name]:
            raise Damaged(f"{found.ref}: {name} is not the one that was committed")
    check_signature(content, signature, signers)
    manifest = read_manifest(content)
    if (manifest.name, manifest.set) != (found.name, found.set):
        raise Untrusted(f"{found.ref} holds the set {manifest.name}/{manifest.set}: somebody has put it there")
    for name, told in manifest.objects.items():
        size = found.objects.get(name)
        if size != told.size:
            raise Damaged(f"{found.ref}: {name} has {size} bytes instead of {told.size}")
        if digests.get(name) != told.sha256:
            raise Damaged(f"{found.ref}: COMMIT and the manifest tell of different {name}")
    if set(manifest.objects) | {MANIFEST, SIGNATURE} != set(WHOLE):
        raise Damaged(f"{found.ref}: the manifest does not name the objects of a set")
    return Opened(found, manifest, digests[MANIFEST])


def _commit(content: bytes, found: Found) -> dict[str, str]:
    digests: dict[str, str] = {}
    for line in content.decode("ascii", "replace").splitlines():
        match = _COMMIT_LINE.fullmatch(line)
        if match is None or match[2] in digests:
            raise Damaged(f"{found.ref}: COMMIT cannot be read")
        digests[match[2]] = match[1]
    if set(digests) != set(WHOLE) or not content.endswith(b"\n"):
        raise Damaged(f"{found.ref}: COMMIT does not name the objects of a set")
    return digests


def newest(store: Store, name: str, signers: Iterable[str]) -> Opened | None:
    """The newest set of ``name`` that passes level 1; None where there is none."""
    known = tuple(signers)
    for found in reversed(find(store, name)[0]):
        try:
            return open_set(store, found, known)
        except (Damaged, Untrusted, StoreError):
            continue
    return None


# -- notes


def note_verified(store: Store, found: Found, level: str, now: datetime) -> None:
    """Note that the set passed ``level``. A higher level that it passed before stays noted."""
    before = verified(store, found)
    if before is not None and LEVELS.index(before.level) > LEVELS.index(level):
        level = before.level
    text = json.dumps({"format": "ultraplan/backup-verified", "version": 1, "level": level, "at": timestamp(now)})
    store.put(f"{found.ref}/{VERIFIED}", io.BytesIO(text.encode() + b"\n"))


def verified(store: Store, found: Found) -> Verified | None:
    """The level that the set is noted to have passed; None where there is no note that can be read."""
    if VERIFIED not in found.objects:
        return None
    try:
        data = json.loads(fetch(store, f"{found.ref}/{VERIFIED}"))
        level = str(data["level"])
        return Verified(level, moment(str(data["at"]))) if level in LEVELS else None
    except (ValueError, KeyError, TypeError, BackupError):
        return None


def hold(store: Store, found: Found, holder: str, reason: str) -> None:
    """Keep the set from being pruned until ``holder`` (a run, a ticket) lets it go."""
    if not _HOLDER.fullmatch(holder) or not is_key(HELD + holder):
        raise BackupError(f"{holder!r} cannot hold a set", "letters, digits, dots, dashes and underscores")
    store.put(f"{found.ref}/{HELD}{holder}", io.BytesIO(json.dumps({"reason": reason}).encode() + b"\n"))


def release(store: Store, found: Found, holder: str) -> None:
    """Let a set go that ``holder`` held."""
    if not _HOLDER.fullmatch(holder):
        raise BackupError(f"{holder!r} holds nothing")
    store.delete(f"{found.ref}/{HELD}{holder}")


# -- removing


def remove(store: Store, found: Found) -> None:
    """Remove a set: COMMIT first, so that at any moment it is whole or no set at all."""
    store.delete(f"{found.ref}/{COMMIT}")
    for name in sorted(found.objects):
        if name != COMMIT:
            store.delete(f"{found.ref}/{name}")


def stale(remains: Iterable[Found], now: datetime) -> list[Found]:
    """Those of ``remains`` that are no backup under way."""
    return [one for one in remains if (when := begun(one.set)) is not None and now - when > REMAINS_KEPT]
