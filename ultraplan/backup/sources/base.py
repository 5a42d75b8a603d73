"""What a source of backups gives: an archive as a stream, and what to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ultraplan.backup.manifest import Host, Source
from ultraplan.backup.members import Note
from ultraplan.backup.stores.base import Reader


@dataclass(frozen=True, slots=True)
class Ended:
    """How the reading of a source ended. ``notes``: what changed while it was read; ``at``: the position of a
    consistent snapshot, None where there was none."""

    notes: Sequence[Note] = ()
    at: str | None = None


class Stream(Reader, Protocol):
    """An archive under way."""

    def finish(self) -> Ended:
        """After the last byte: how it ended. Raises `SourceFailed` where it is not whole."""

    def close(self) -> None:
        """Stop it, wherever it is; nothing is left running."""


class Reads(Protocol):
    """A source: see docs/explanation/backup-format.md."""

    @property
    def host(self) -> Host:
        """Where its content is."""

    @property
    def roots(self) -> Sequence[bytes]:
        """What the archive holds: relative to ``/``, sorted, none inside another."""

    @property
    def names(self) -> Sequence[str]:
        """What its host may be called, for keys that are kept on it."""

    def describe(self) -> Source:
        """Type, settings and versions, for the manifest; raises `SourceFailed` where it cannot be read at all."""

    def tools(self) -> dict[str, str]:
        """Versions of the programs that make the archive."""

    @property
    def afterwards(self) -> str:
        """What RESTORE.txt says to do after unpacking."""

    def open(self) -> Stream:
        """Begin to read."""

    def close(self) -> None:
        """Remove what `describe` made for it."""


