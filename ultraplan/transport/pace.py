"""A bandwidth limit for files: what a link shared with others needs."""

from __future__ import annotations

import time

from ultraplan.transport.wire import Turn, Wire

_SLACK = 1.0  # seconds that a transfer which was held up may catch up on


class Paced:
    """``wire``, held to ``rate`` bytes a second in each direction's sum."""

    def __init__(self, wire: Wire, rate: int) -> None:
        self._wire, self._rate = wire, rate
        self._due = time.monotonic()
        self._most = max(4096, rate // 10)

    def turn(self, data: memoryview, timeout: float | None) -> Turn:
        """See `Wire.turn`; returns when what moved may have moved."""
        turn = self._wire.turn(data[: self._most], timeout)
        now = time.monotonic()
        self._due = max(self._due, now - _SLACK) + (turn.sent + len(turn.stdout)) / self._rate
        time.sleep(max(0.0, self._due - now))
        return turn

    def end_input(self) -> None:
        """See `Wire.end_input`."""
        self._wire.end_input()

    def status(self, timeout: float) -> int | None:
        """See `Wire.status`."""
        return self._wire.status(timeout)

    def close(self) -> None:
        """See `Wire.close`."""
        self._wire.close()
