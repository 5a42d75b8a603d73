"""The signed manifest of a set: what it says, and how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ultraplan.backup.errors import Damaged

FORMAT, VERSION = "ultraplan/backup-manifest", 1
LARGEST = 1 << 20
"""Bytes that a manifest may have."""

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]


class Object(Struct, frozen=True):
    """An object of the set. ``size`` in bytes."""

    size: Count
    sha256: Sha256


class Parent(Struct, frozen=True):
    """The newest set before this one, and the digest of its manifest."""

    set: str
    manifest_sha256: Sha256


class Host(Struct, frozen=True):
    """Where the content is from: the name in the inventory, and the one the host has for itself."""

    name: str
    hostname: str


class Source(Struct, frozen=True):
    """What was read and how: the type of source, its settings, versions of the programs it was read from."""

    type: str
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}


class Consistency(Struct, frozen=True, rename={"since": "from"}):
    """Of which moment the content is. ``kind``: ``point`` (then ``at`` is its position) or ``interval``."""

    kind: str
    since: str
    until: str
    at: str | None = None


class Content(Struct, frozen=True):
    """``bytes``: of all files; ``tar``: of the archive; ``changed``: files that changed while they were read."""

    members: Count
    files: Count
    bytes: Count
    tar: Count
    changed: Count


class Manifest(Struct, frozen=True, kw_only=True):
    """What a set is. Times are RFC 3339 in UTC."""

    format: str = FORMAT
    version: int = VERSION
    name: str
    set: str
    started: str
    finished: str
    host: Host
    source: Source
    roots: Annotated[list[str], Meta(min_length=1)]
    consistency: Consistency
    parent: Parent | None
    tools: dict[str, str]
    recipients: list[str]
    content: Content
    objects: dict[str, Object]

    @property
    def point(self) -> datetime:
        """The moment that a restore goes back to: what was written after it is lost."""
        return moment(self.consistency.since)


def timestamp(when: datetime) -> str:
    """``when`` in RFC 3339, UTC, with microseconds."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def moment(text: str) -> datetime:
    """The time that ``text`` writes; raises `Damaged`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Damaged(f"the manifest holds a time that is none: {text!r}") from None
    if found.tzinfo is None:
        raise Damaged(f"the manifest holds a time without its zone: {text!r}")
    return found.astimezone(UTC)


def write_manifest(manifest: Manifest) -> bytes:
    """The bytes that are signed: a line for each field, and for each object, so that `sed` finds them."""
    fields: Mapping[str, Any] = msgspec.to_builtins(manifest)
    rows = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=True)}" for key, value in fields.items()
            if key != "objects"]
    objects = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields["objects"].items())
    rows.append(f' "objects": {{\n{objects}\n }}')
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def read_manifest(content: bytes) -> Manifest:
    """What a manifest says; raises `Damaged` where it is none, or of a version that we do not know."""
    if len(content) > LARGEST:
        raise Damaged("the manifest is larger than any that is written")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"the manifest cannot be read: {error}") from None
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise Damaged(f"this is {manifest.format} version {manifest.version}; known is {FORMAT} version {VERSION}")
    if manifest.consistency.kind not in ("point", "interval"):
        raise Damaged(f"the manifest tells of a consistency {manifest.consistency.kind!r}, which is not known")
    if not all(_is_root(root) for root in manifest.roots):
        raise Damaged("the manifest names a root that would leave the target")
    for text in (manifest.started, manifest.finished, manifest.consistency.since, manifest.consistency.until):
        moment(text)
    return manifest


def _is_root(root: str) -> bool:
    return root == "." or ("\0" not in root and set(root.split("/")).isdisjoint(("", ".", "..")))
