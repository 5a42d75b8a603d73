"""What the engine needs of a host: a shell that answers programs, a second channel, and transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ultraplan.shell import Account, Reply

Progress = Callable[[int, int | None], None]
"""Bytes so far and in all (None where unknown)."""


class TransportError(Exception):
    """Something about reaching the host; ``host`` is its inventory name, ``hint`` what to do next."""

    def __init__(self, host: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.host = host
        self.hint = hint


def explained(error: TransportError) -> str:
    """What went wrong with what to do about it, on one line: for where only a line is kept (a journal, a plan)."""
    return f"{error} ({error.hint})" if error.hint else str(error)


class Unreachable(TransportError):
    """No connection could be made: refused, no route, timed out, name unknown. Nothing was sent."""


class AuthenticationFailed(Unreachable):
    """The host answered and refused us; or become was refused."""


class HostKeyMismatch(Unreachable):
    """The host's key is unknown or not the one on record. Never goes on."""


class ConnectionLost(TransportError):
    """The connection broke while a program was out: whether it ran is unknown."""


class DeadlineExceeded(TransportError):
    """A program did not answer in time; the shell that ran it was ended."""


class TransferFailed(TransportError):
    """The host answered, but a file could not be written or read (no such path, no room, not permitted)."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """One of several programs that are sent before the first of them answered. ``stops``: where it fails, the shell
    runs none of those after it. ``timeout``: seconds from the answer before it."""

    text: str
    stops: bool = True
    timeout: float | None = None


class Shell(Protocol):
    """One framed shell on a host, for one account. Not for use by two threads at once."""

    def run(self, text: str, *, timeout: float | None = None) -> Reply:
        """Run one program's final text and wait for its answer. ``timeout`` in seconds.

        A program cannot end the shell, change its directory, its variables or its traps (it runs in a
        subshell, stdin empty). Raises `ConnectionLost`, `DeadlineExceeded`, `Unreachable`.
        """

    def run_many(self, texts: Sequence[str], *, timeout: float | None = None,
                 stop_on_error: bool = False) -> list[Reply]:
        """Send all, then collect: one round trip for any number. With ``stop_on_error`` the shell itself
        skips what follows the first non-zero exit, and the list ends there."""

    def stream(self, programs: Sequence[Ahead], idle: Callable[[], None]) -> Iterator[Reply]:
        """Send all in one go and give each answer as it comes, up to that of the first that failed and stops the rest.
        ``idle`` is called a few times a second meanwhile. Raises as `run`. Whoever does not take all answers in loses
        the shell: what it had not begun may still run."""


class Connection(Protocol):
    """One host. Opens lazily: nothing is sent before the first use."""

    host: str

    def shell(self, account: Account | None = None, lane: int = 0) -> Shell:
        """The shell of ``account`` (None: the one that logs in); opened once, opened again after a loss. Lanes are
        shells of their own, for what runs side by side on one host."""

    def side(self, text: str, account: Account | None = None, *, timeout: float = 30.0) -> Reply:
        """Run one program on a channel of its own, beside whatever the shell is doing."""

    def upload(self, source: bytes | Path | BinaryIO, path: str, account: Account | None = None,
               progress: Progress | None = None) -> None:
        """Stream to a new file of mode 0600 at ``path``; complete or absent. Constant memory.

        Raises `TransferFailed`, `ConnectionLost`, `Unreachable`; OSError for the local side.
        """

    def download(self, path: str, sink: BinaryIO, account: Account | None = None,
                 progress: Progress | None = None) -> None:
        """Stream the file at ``path`` into ``sink``. Constant memory. Raises as `upload`; then ``sink`` holds
        a part."""

    def close(self) -> None:
        """Close everything; programs that run on the host go on."""


Connect = Callable[[str], Connection]
"""From a host's inventory name to its connection (one a host, shared)."""
