"""What a host's own tar says is in an archive, and how a folder differs from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ultraplan.secrets import neutral
from ultraplan.shell import Reply, plain
from ultraplan.steps.base import Diff, FieldDiff, StepFailed
from ultraplan.steps.manifests import storable
from ultraplan.steps.pathstate import size_text
from ultraplan.steps.tarballs import leads_out

_LINE = re.compile(
    rb"([-dlhbcpsCV])\S{9}\S* +(.+?) +(\d+|\d+,\d+) (\d{4,}-\d\d-\d\d \d\d:\d\d(?::\d\d)?) (.*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([abfnrtv\\\"]|[0-7]{3})")
_SHORT = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Member:
    """One member. ``kind`` is the letter that tar shows (``h``: a hard link); ``target`` a link's."""

    kind: str
    name: str
    size: int
    target: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """An archive and a folder.

    ``dest``: absent, folder (``access``: its mode and numeric owner), link or other. ``orphan``: whether there is not
    even the folder to put it in. ``present``: whether the archive is there. ``differs``: names that the folder does not
    have, or has otherwise. ``extra``: what only the folder has (where that was asked). ``stripped``: whether tar itself
    took something off the names.
    """

    dest: str
    present: bool
    members: tuple[Member, ...]
    differs: tuple[str, ...]
    extra: tuple[str, ...]
    stripped: bool
    src: str
    strip: int
    digest: str
    access: str | None
    orphan: bool

    @classmethod
    def read(cls, reply: Reply, src: str, strip: int) -> Listing:
        """The answer to ``up_tar_look``; raises `StepFailed` where the host could not look."""
        if reply.exit != 0:
            raise StepFailed(neutral(reply.error_text).strip() or f"cannot read {src}: exit code {reply.exit}")
        if reply.truncated:
            raise StepFailed(f"cannot look at {src}: it holds more than one answer can tell")
        head, *parts = re.split(rb"(?:^|\n)//(list|differs|there)\n", reply.stdout)
        sections = dict(zip(parts[::2], parts[1::2], strict=True))
        told = dict(line.partition("=")[::2] for line in head.decode("utf-8", "replace").splitlines())
        gnu = told.get("tar") == "gnu"
        lines = sections.get(b"list", b"")
        members = tuple(_members(lines, gnu))
        differs = sorted({plain(line).rstrip("/") for line in sections.get(b"differs", b"").splitlines()})
        names = {name for member in members for name in _with_above(_stripped(member.name, strip))}
        extra: list[str] = []
        for line in sections.get(b"there", b"").splitlines():
            name = plain(line.removeprefix(b".//"))
            if name and name not in names and not any(name.startswith(f"{above}/") for above in extra[-1:]):
                extra.append(name)
        return cls(
            told.get("dest", "absent"), told.get("archive") != "absent", members, tuple(differs), tuple(sorted(extra)),
            b"emoving leading" in reply.stderr, src, strip, hashlib.sha256(lines).hexdigest(),
            _access(told.get("access")), "orphan" in told)

    def refuse(self, outside_links: bool) -> None:
        """Raises `StepFailed` for what is never unpacked."""
        if self.stripped:
            raise StepFailed(f"{self.src} holds absolute names, or names with `..`")
        for member in self.members:
            shown = storable(member.name)
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise StepFailed(f"{self.src} holds {shown!r}: names have to be relative, without `..`")
            if member.kind not in "-dlhCV":
                raise StepFailed(f"{self.src}: {shown!r} is neither file, folder nor link")
            if member.kind == "h" and member.target is not None and (
                    member.target.startswith("/") or ".." in member.target.split("/")):
                raise StepFailed(f"{self.src}: {shown!r} is a hard link that leads out of the archive")
            name = _stripped(member.name, self.strip)
            if member.kind == "l" and name and not outside_links and leads_out(name, member.target or ""):
                raise StepFailed(f"{self.src}: the link {shown!r} leads out of the archive, to "
                                 f"{storable(member.target or '')!r} (`outside_links: true` allows that)")

    def outputs(self, dest: str) -> dict[str, Any]:
        """The outputs ``path``, ``files`` and ``size``, where the archive is there."""
        if not self.present:
            return {"path": dest}
        files = [member for member in self.members if member.kind in "-hC"]
        return {"path": dest, "files": len(files), "size": sum(member.size for member in files)}

    def summary(self, new: bool) -> str:
        """A few words."""
        if not self.present:
            return f"unpack {storable(self.src)}, which is not there yet"
        size = size_text(sum(member.size for member in self.members))
        if new:
            return f"create, {len(self.members)} members, {size}"
        parts = [f"{len(self.differs)} of {len(self.members)} members differ"] if self.differs else []
        return ", ".join(parts + ([f"remove {len(self.extra)}"] if self.extra else []))

    def diff(self, dest: str) -> tuple[Diff, ...]:
        """The names that change."""
        if not self.present or self.dest == "absent":
            return (FieldDiff(dest, None, f"unpacked from {storable(self.src)}"),)
        rows = [FieldDiff(storable(name), "differs or missing", f"as in {storable(self.src)}") for name in self.differs]
        rows += [FieldDiff(storable(name), "not in the archive", None) for name in self.extra]
        left = len(rows) - _SHOWN
        return tuple(rows[:_SHOWN]) + ((FieldDiff(f"{left} more", "differ", None),) if left > 0 else ())


def _access(told: str | None) -> str | None:
    return told if told is not None and re.fullmatch(r"[0-7]+ \d+:\d+", told) else None


def _members(lines: bytes, gnu: bool) -> Iterator[Member]:
    for line in lines.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:  # the rest of a name with a newline, from a tar that does not escape it
            continue
        kind, rest, target = found[1].decode(), found[5], None
        if kind == "h":
            rest, _, target = rest.partition(b" link to ")
        elif kind in "-l" and b" -> " in rest and not (gnu and kind == "-"):
            rest, _, target = rest.partition(b" -> ")
            kind = "h" if kind == "-" else kind
        name = plain(_unescape(rest) if gnu else rest).rstrip("/")
        size = int(found[3]) if found[3].isdigit() else 0
        yield Member(kind, _tidy(name), size, None if target is None else plain(_unescape(target) if gnu else target))


def _tidy(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def _unescape(raw: bytes) -> bytes:
    return _ESCAPE.sub(
        lambda m: bytes([int(m[1], 8) & 0xFF]) if len(m[1]) == 3 else _SHORT.get(m[1], m[1]), raw)


def _stripped(name: str, strip: int) -> str:
    return "/".join(name.split("/")[strip:])


def _with_above(name: str) -> Iterator[str]:
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
