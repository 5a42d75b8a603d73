"""How a transfer goes: bytes, rate and time left, on one line of a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from ultraplan.cli.views.text import lasting

_EVERY = 0.2
"""Seconds between two looks of the line."""
_SMOOTH = 5.0
"""Seconds that the rate is the mean of, about."""


def size(count: float) -> str:
    """A number of bytes for people: ``512 B``, ``1.5 MB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


class Moving:
    """A line that is drawn again and again while bytes pass; nothing where ``out`` is no terminal.

    ``verb``: what is done (``read``). ``total``: bytes in all, None where nobody knows; ``about``: it is only what it
    was the last time.
    """

    def __init__(self, verb: str, total: int | None, *, about: bool = False, out: TextIO | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._verb, self._total, self._about = verb, total, about
        self._out = sys.stderr if out is None else out
        self._on = self._out.isatty()
        self._clock = clock
        self._began = self._drawn = self._mark = clock()
        self._rate: float | None = None
        self._marked = 0
        self._stored = 0
        self.passed = 0
        self._lock = threading.Lock()

    def tick(self, count: int) -> None:
        """So many bytes more have passed."""
        with self._lock:
            self.passed += count
            self._draw()

    def stored(self, count: int) -> None:
        """So many bytes more went to the store, where that is not what passes."""
        with self._lock:
            self._stored += count
            self._draw()

    def line(self) -> str:
        """What the line says now."""
        parts = [f"{size(self.passed)} {self._verb}"]
        if self._total:
            share, about = min(99, int(100 * self.passed / self._total)), "about " if self._about else ""
            parts[0] = f"{size(self.passed)} of {about}{size(self._total)} {self._verb}, {share}%"
        if self._stored:
            parts.append(f"{size(self._stored)} stored")
        rate = self._rate if self._rate is not None else self.passed / max(self._clock() - self._began, 1e-3)
        parts.append(f"{size(rate)}/s")
        if self._total and rate > 0 and self.passed < self._total:
            parts.append(f"{lasting((self._total - self.passed) / rate)} left")
        return ", ".join(parts)

    def end(self) -> None:
        """Take the line away."""
        if self._on:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _draw(self) -> None:
        now = self._clock()
        if now - self._drawn < _EVERY:
            return
        rate = (self.passed - self._marked) / max(now - self._mark, 1e-6)
        weight = min(1.0, (now - self._mark) / _SMOOTH)
        self._rate = rate if self._rate is None else self._rate + weight * (rate - self._rate)
        self._mark, self._marked, self._drawn = now, self.passed, now
        if self._on:
            self._out.write(f"\r{self.line()}\x1b[K")
            self._out.flush()
