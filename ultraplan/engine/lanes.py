"""Shells of one account on one host, handed out one to a thread."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LANES = 4
"""Shells of one account on one host, at most (sshd allows ten sessions a connection by default)."""


class Lanes:
    """Numbers of shells that are free; the lowest goes first, so that a plan without parallel steps uses only one."""

    def __init__(self) -> None:
        self._free = list(range(LANES))
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[int]:
        """A number that nobody else has meanwhile; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            lane = heapq.heappop(self._free)
        try:
            yield lane
        finally:
            with self._changed:
                heapq.heappush(self._free, lane)
                self._changed.notify()
