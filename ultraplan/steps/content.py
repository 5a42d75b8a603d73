"""The content that a file is to have, and the programs that put it there and back: the one home of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ultraplan.secrets import has_marker
from ultraplan.shell import Program, Upload, literal, plain, quote
from ultraplan.steps.base import Change, Diff, FieldDiff, StepFailed, TextDiff
from ultraplan.steps.params import SourceFile, TemplateFile
from ultraplan.steps.pathstate import SHOWN_LIMIT, Access, size_text, text_of

INLINE_LIMIT = 64 * 1024
"""Content up to this many bytes travels in the program; more is uploaded. Content with secrets always travels in it."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is to hold. ``text`` (markers for secrets) or a file of the controller, never both.

    ``sha256`` and ``size`` (bytes) are None where secrets are in it: nothing about their values leaves a host.
    """

    text: str | None
    source: Path | None
    size: int | None
    sha256: str | None

    @classmethod
    def of_text(cls, text: str) -> Content:
        """Text that may hold markers, and escaped bytes (`ultraplan.shell.plain`)."""
        if has_marker(text):
            return cls(text, None, None, None)
        raw = text.encode("utf-8", "surrogateescape")
        return cls(text, None, len(raw), hashlib.sha256(raw).hexdigest())

    @classmethod
    def of_source(cls, source: SourceFile) -> Content:
        """A file of the controller, byte for byte. Raises `StepFailed` where it cannot be read."""
        try:
            if source.path.is_dir():
                raise StepFailed(f"source {source.name} is a folder; the `copy` step copies folders")
            info = source.path.stat()
            if info.st_size <= INLINE_LIMIT:
                return cls.of_text(plain(source.path.read_bytes()))
            return cls(None, source.path, *_digest(source.path, info.st_size, info.st_mtime_ns))
        except OSError as error:
            raise StepFailed(f"source {source.name} cannot be read: {error.strerror}") from None

    @classmethod
    def of_params(cls, content: str | None, source: SourceFile | None, template: TemplateFile | None) -> Content | None:
        """The content that one of the three parameters gives, or None."""
        if content is not None:
            return cls.of_text(content)
        if template is not None:
            return cls.of_text(template.text)
        return None if source is None else cls.of_source(source)

    @property
    def secret(self) -> bool:
        """Whether secrets are in it."""
        return self.sha256 is None

    @property
    def shown(self) -> str | None:
        """The text for a diff (markers for secrets), or None for what is binary or too large."""
        if self.text is not None:
            raw = self.text.encode("utf-8", "surrogateescape")
            return None if len(raw) > SHOWN_LIMIT else self.text if text_of(raw) is not None else None
        if self.source is None or self.size is None or self.size > SHOWN_LIMIT:
            return None
        return text_of(self.source.read_bytes())

    def function(self) -> tuple[str, tuple[Upload, ...]]:
        """The shell function ``up_content`` that prints it, and what it needs."""
        if self.source is not None:
            name = f"content-{self.sha256}"
            return f'up_content() {{ cat -- "$UP_TMP"/{name}; }}\n', (Upload(name, self.source),)
        text = self.text or ""
        raw = text.encode("utf-8", "surrogateescape")
        if not self.secret and len(raw) > INLINE_LIMIT:
            name = f"content-{self.sha256}"
            return f'up_content() {{ cat -- "$UP_TMP"/{name}; }}\n', (Upload(name, raw),)
        return f"up_content() {{ {literal(text)}; }}\n", ()

    def equals(self, facts: Mapping[str, Any]) -> bool:
        """Whether a file with these facts has this content."""
        return bool(facts.get("matches")) if self.secret else facts.get("sha256") == self.sha256

    def facts(self) -> dict[str, Any]:
        """What the facts of a file with this content say about it."""
        return {"matches": True} if self.secret else {"size": self.size, "sha256": self.sha256}


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> tuple[int, str]:
    with path.open("rb") as file:
        return size, hashlib.file_digest(file, "sha256").hexdigest()


def content_facts(raw: bytes | None, given: Mapping[str, str], secret: bool) -> dict[str, Any]:
    """The facts about a file's content: from its bytes where the probe printed them, else from what it said.

    With secrets wanted: whether it is that, and where it is not, its size; never a digest.
    """
    size = len(raw) if raw is not None else int(given["size"])
    if secret:
        return {"matches": True} if "matches" in given else {"matches": False, "size": size}
    digest = hashlib.sha256(raw).hexdigest() if raw is not None else given["sha256"]
    return {"size": size, "sha256": digest}


def content_diff(path: str, facts: Mapping[str, Any], before: bytes | None, content: Content) -> tuple[Diff, ...]:
    """A text diff where both sides are text of a showable size, else size and digest."""
    exists = facts["kind"] != "absent"
    old = text_of(before) if before is not None else None
    new = content.shown
    if new is not None and (old is not None or not exists):
        return (TextDiff(path, old, new),)
    was = f"{size_text(facts['size'])}, sha256 {facts.get('sha256', 'not compared')[:12]}" if exists else None
    becomes = "holds secrets"
    if content.sha256 is not None:
        becomes = f"{size_text(content.size or 0)}, sha256 {content.sha256[:12]}"
    return (FieldDiff("content", was, becomes),)


def shown_text(text: str) -> str | None:
    """``text`` with escaped bytes as ``\\xNN``, or None for what is binary or too large to show."""
    raw = text.encode("utf-8", "surrogateescape")
    return None if b"\0" in raw or len(raw) > SHOWN_LIMIT else (
        text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def replace(
    path: str, content: Content, wanted: Access, known: Mapping[str, Any], diff: tuple[Diff, ...], *,
    summary: str, unchanged: str = "", resolve: bool = False,
) -> Change:
    """The change that writes ``content``, atomically, with its pre-image, and the reverse of that.

    ``known``: the facts about the content afterwards. ``unchanged``: the digest that the file must still have, if any.
    ``resolve``: go through symbolic links.
    """
    function, uploads = content.function()
    at, prefix = quote(path), ""
    if resolve:
        prefix, at = f"up_resolve {at}\n", '"$up_at"'
    return Change(
        summary=summary,
        diff=(*diff, *wanted.diff),
        forward=Program(
            f"{prefix}{function}up_put {at} {wanted.chmod} {quote(wanted.chown)} {quote(unchanged)}\n", uploads),
        reverse=Program(f"{prefix}up_back {at}\n"),
        after=None if wanted.facts is None else {"kind": "file", **wanted.facts, **known},
        outputs={"path": path} | ({} if content.sha256 is None else {"sha256": content.sha256}),
        touches=(f"path:{path}",),
    )


def set_access(path: str, wanted: Access, facts: Mapping[str, Any], *, resolve: bool = False) -> Change:
    """The change of mode and owner alone, and its reverse."""
    at, prefix = quote(path), ""
    if resolve:
        prefix, at = f"up_resolve {at}\n", '"$up_at"'
    owned = any(part.field != "mode" for part in wanted.diff)
    before = f"0{facts['mode']} {facts['uid']}:{facts['gid']}"
    return Change(
        summary=wanted.changes,
        diff=wanted.diff,
        forward=Program(f"{prefix}up_set {at} {wanted.chmod} {quote(wanted.chown if owned else '')}\n"),
        reverse=Program(f"{prefix}up_unset {at} {before}\n"),
        after=None if wanted.facts is None else {**facts, **wanted.facts},
        outputs={"path": path} | ({"sha256": facts["sha256"]} if "sha256" in facts else {}),
        touches=(f"path:{path}",),
    )
