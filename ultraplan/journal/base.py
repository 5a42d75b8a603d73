"""What every store offers; one conformance suite (tests/conformance) holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ultraplan.journal.events import Event, Record


class JournalError(Exception):
    """The store cannot do what was asked; the message says what and where."""


class JournalDamaged(JournalError):
    """What is stored is not what was written; ``good`` is the number of leading records that can be trusted."""

    def __init__(self, message: str, good: int) -> None:
        super().__init__(message)
        self.good = good


class Locked(JournalError):
    """Somebody else holds a lock."""

    def __init__(self, name: str, holder: str, run: str, age: float) -> None:
        super().__init__(f"{name} is locked by {holder} (run {run}, renewed {age:.0f} s ago)")
        self.name, self.holder, self.run, self.age = name, holder, run, age


class LeaseLost(JournalError):
    """The lease ran out and somebody else took it over: this process may write nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Locks held together. ``epoch`` is the fencing token: higher than that of any lease before it in this store,
    and, as far as clocks agree, in any other."""

    names: tuple[str, ...]
    run: str
    holder: str
    epoch: int
    ttl: float


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as lists show it. ``status``: the last RUN_CLOSED's, or ``open``. Times are Unix seconds."""

    run: str
    plan: str
    opened: float
    changed: float
    status: str
    hosts: tuple[str, ...]
    holder: str | None = None


class Store(Protocol):
    """Journals and locks. Safe for several threads and processes."""

    def create(self, run: str, bundle: bytes, lease: Lease) -> None:
        """A new, empty journal; ``bundle`` is all that is needed to go on without the plan's files."""

    def bundle(self, run: str) -> bytes:
        """The run's bundle; KeyError for an unknown run."""

    def append(self, run: str, events: Sequence[Event], lease: Lease | None = None) -> list[Record]:
        """Durable on return. Calls from several threads share one disk flush (group commit).

        With a ``lease``: refused (`LeaseLost`) where a higher epoch exists for any of its names.
        """

    def read(self, run: str, after: int = 0) -> Iterator[Record]:
        """The records after number ``after``, checked; raises `JournalDamaged`."""

    def runs(self) -> list[RunInfo]:
        """All runs, newest first."""

    def find(self, prefix: str) -> str:
        """The run whose id starts with ``prefix`` (``last``: the newest); raises `JournalError` with the candidates."""

    def acquire(self, names: Sequence[str], run: str, holder: str, ttl: float) -> Lease:
        """All of ``names`` or none; raises `Locked`. Takes over leases that ran out, and those of the same run whose
        holder is known to be dead."""

    def renew(self, lease: Lease) -> None:
        """Start its time anew; raises `LeaseLost`."""

    def release(self, lease: Lease) -> None:
        """Give the locks back; nothing happens where they are lost already."""

    def prune(self, run: str) -> None:
        """Remove a closed run; raises `JournalError` for one that is open."""

    def close(self) -> None:
        """Release the store's resources."""
