"""A process on a host with its three streams, local or remote: what shells and transfers are built on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Turn:
    """What moved: how many bytes were taken, what arrived, and whether nothing can arrive any more."""

    sent: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    ended: bool = False


class Wire(Protocol):
    """One running process. Not for use by two threads at once."""

    def turn(self, data: memoryview, timeout: float | None) -> Turn:
        """Wait until something moves, at most ``timeout`` seconds (None: for ever), and move what can be
        moved without blocking in any of the three directions. Never raises for an ended process: that is
        ``Turn.ended``."""

    def end_input(self) -> None:
        """The process reads end of file after what was sent."""

    def status(self, timeout: float) -> int | None:
        """The exit code once the process has ended (negative or above 128 for a signal); None where it cannot
        be known within ``timeout`` seconds."""

    def close(self) -> None:
        """Let go of the streams; the process may go on. May be called twice, and by another thread."""
