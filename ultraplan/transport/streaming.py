"""A program on a host whose input and output are streams: what is too large for an answer, and is no file."""

from __future__ import annotations

from typing import Protocol

from ultraplan.shell import Account, Reply
from ultraplan.transport.base import Connection, ConnectionLost
from ultraplan.transport.connection import WiredConnection

_CHUNK = 256 * 1024
_MOST_SAID = 256 * 1024
_LOOK = 60.0


class Source(Protocol):
    """Where a program's input comes from."""

    def read(self, count: int, /) -> bytes:
        """Up to ``count`` bytes; none at the end."""


class Sink(Protocol):
    """Where a program's output goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


def exchange(connection: Connection, text: str, account: Account | None = None, *, source: Source | None = None,
             sink: Sink | None = None) -> Reply:
    """Run ``text`` on a channel of its own, its input from ``source``, its output into ``sink``. Constant memory.

    The reply has its exit code and the end of what it said on stderr. Where ``source`` or ``sink`` raise, the program
    is let go of (it gets end of file, or a broken pipe) and that is raised. Raises `ConnectionLost`, `Unreachable`.
    """
    if not isinstance(connection, WiredConnection):
        raise TypeError(f"{type(connection).__name__} has no channels")
    wire = connection.channel(text, account)
    chunk, ended, said = memoryview(b""), source is None, b""
    if ended:
        wire.end_input()
    try:
        while True:
            if not chunk and not ended and source is not None:
                chunk = memoryview(source.read(_CHUNK))
                if not chunk:
                    wire.end_input()
                    ended = True
            turn = wire.turn(chunk, _LOOK)
            chunk = chunk[turn.sent:]
            said = (said + turn.stderr)[-_MOST_SAID:]
            if turn.stdout and sink is not None:
                sink.write(turn.stdout)
            if turn.ended:
                break
        status = wire.status(_LOOK)
    finally:
        wire.close()
    if status is None:
        raise ConnectionLost(connection.host, "the connection broke while a program was out")
    return Reply(status, b"", said)
