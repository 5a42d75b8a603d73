"""Tells listeners of a run's records in the journal's order, though several threads make them durable at once."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from ultraplan.journal.events import Record

Listener = Callable[[Record], None]
"""Gets every durable record of a run, one at a time, in the journal's order. Must not raise or block."""

PATIENCE = 1.0
"""Seconds that a record waits for one before it, which may be another process's (an answer) and never come this way."""


class InOrder:
    """Between the threads that write and the listeners. Records that come too early wait for those before them."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._early: list[tuple[int, float, Record]] = []
        self._next: int | None = None
        self._lock = threading.Lock()

    def take(self, records: Iterable[Record]) -> None:
        """Records that are durable now; tells what has its turn."""
        with self._lock:
            now = time.monotonic()
            for record in records:
                heapq.heappush(self._early, (record.seq, now, record))
                self._next = record.seq if self._next is None else self._next
            while self._early and (self._early[0][0] <= (self._next or 0) or now - self._early[0][1] > PATIENCE):
                self._tell(heapq.heappop(self._early)[2])

    def flush(self) -> None:
        """Tell all that still waits: nothing more comes."""
        with self._lock:
            while self._early:
                self._tell(heapq.heappop(self._early)[2])

    def _tell(self, record: Record) -> None:
        self._next = record.seq + 1
        for listener in self._listeners:
            listener(record)
