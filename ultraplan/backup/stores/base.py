"""What a place for backups has to be able to do: five verbs, and tests/conformance/test_backup_store.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of a store; ``size`` in bytes."""

    key: str
    size: int


class Reader(Protocol):
    """Where bytes come from."""

    def read(self, count: int, /) -> bytes:
        """Up to ``count`` bytes; none at the end. Raises where there is no more because something failed."""


class Writer(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class Store(Protocol):
    """Objects under keys (`ultraplan.backup.names.is_key`). Raises `StoreError`; safe for several threads.

    ``url``: what opens it again, without secrets.
    """

    url: str

    def list(self, prefix: str = "") -> Iterable[Stored]:
        """The whole objects whose keys begin with ``prefix``, sorted by key."""

    def put(self, key: str, source: Reader, *, exclusive: bool = False) -> None:
        """Store all that ``source`` gives: durable and whole when this returns, else not there at all (or as before).

        With ``exclusive``, raises `AlreadyThere` where the key is taken; of several at once, one wins. What ``source``
        raises is raised.
        """

    def get(self, key: str, sink: Writer) -> None:
        """Write the object into ``sink``. Raises `StoreError` where there is none; then, or when the way to it breaks,
        ``sink`` may hold a part. What ``sink`` raises is raised."""

    def delete(self, key: str) -> None:
        """Remove the object; it is no mistake that there is none."""

    def sweep(self, older_than: float) -> int:
        """Remove what puts that died more than ``older_than`` seconds ago left and nobody sees; how many there were."""

    def close(self) -> None:
        """Let go of connections."""
