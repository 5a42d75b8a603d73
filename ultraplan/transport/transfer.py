"""Files over a wire of their own: streamed in constant memory, complete at their path or absent."""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ultraplan.transport.base import ConnectionLost, Progress, TransferFailed
from ultraplan.transport.process import ProcessWire
from ultraplan.transport.wire import Turn, Wire

_CHUNK = 1024 * 1024
LARGE = 32 * 1024 * 1024
"""Files of more bytes may travel on a connection of their own (`WiredConnection._spawn_large`)."""
STALL_TIMEOUT = 120.0
"""A transfer that moves no byte for so many seconds is given up."""

# $1: the path; $2: the scratch name beside it; $3: the size in bytes, or - where only the sender will know.
# (`SEND`: $1 the path, $2 the mark that its announcement begins with.)
# The scratch file is created exclusively. Its size tells a sender that is done from one that died: both are
# end of file.
_SIZE = """\
set -f
size() { set -- $(ls -dlnL "$1") && echo "$5"; }
"""

RECEIVE = (
    _SIZE
    + """\
umask 077
[ ! -d "$1" ] || { echo "it is a directory" >&2; exit 1; }
[ -d "${1%/*}/" ] || { echo "no such directory" >&2; exit 1; }
set -C
trap 'rm -f "$2"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >"$2" || exit 1
n=$(size "$2")
if [ "$3" = - ]; then trap - EXIT; echo "$n"; exit 0; fi
[ "$n" = "$3" ] || { echo "got $n of $3 bytes" >&2; exit 1; }
mv -f "$2" "$1"
"""
)

COMMIT = (
    _SIZE
    + """\
[ ! -d "$1" ] && [ "$(size "$2")" = "$3" ] && mv -f "$2" "$1" || { rm -f "$2"; exit 1; }
"""
)

SEND = (
    _SIZE
    + """\
[ -e "$1" ] || { echo "no such file" >&2; exit 1; }
[ -f "$1" ] || { echo "not a regular file" >&2; exit 1; }
exec <"$1" || exit 1
echo "$2 $(size "$1")"
exec cat
"""
)


def scratch(path: str) -> str:
    """An unguessable name beside ``path``."""
    return f"{path}.{secrets.token_hex(8)}.part"


def safe(path: str) -> str:
    """``path`` as an argument that no program takes for an option."""
    return path if path.startswith("/") else f"./{path}"


@contextmanager
def opened(source: bytes | Path | BinaryIO) -> Iterator[tuple[BinaryIO, int | None]]:
    """``source`` as a stream, and how many bytes are in it (None: unknown)."""
    if isinstance(source, bytes):
        yield io.BytesIO(source), len(source)
    elif isinstance(source, Path):
        with source.open("rb", buffering=0) as file:
            yield file, os.fstat(file.fileno()).st_size
    else:
        size = None
        if source.seekable():
            here = source.tell()
            size = source.seek(0, os.SEEK_END) - here
            source.seek(here)
        yield source, size


def send(host: str, wire: Wire, source: BinaryIO, size: int | None,
         progress: Progress | None) -> tuple[int, bytes]:
    """Stream ``source`` into `RECEIVE`; returns how many bytes it sent and what the host answered.

    Raises `TransferFailed` with the host's words, `ConnectionLost`.
    """
    sent, chunk, ended = 0, memoryview(b""), False
    out, err = b"", b""
    pour = wire.pour if isinstance(wire, ProcessWire) and isinstance(source, io.FileIO) else None
    while True:
        turn = None
        if pour is not None and not ended:
            turn = pour(source.fileno(), STALL_TIMEOUT)
        elif not chunk and not ended:
            chunk = memoryview(source.read(_CHUNK))
        if turn is None and not chunk and not ended:
            wire.end_input()
            ended = True
        if turn is None:
            turn = wire.turn(chunk, STALL_TIMEOUT)
            chunk = chunk[turn.sent :]
        sent += turn.sent
        out, err = (out + turn.stdout)[-4096:], (err + turn.stderr)[-4096:]
        if progress is not None and turn.sent:
            progress(sent, size)
        if turn.ended:
            break
        _moved(host, turn)
    _check(host, wire, err)
    return sent, out


def new_mark() -> str:
    """A word that nobody can guess, for `SEND` to announce itself with."""
    return secrets.token_hex(8)


def announced(host: str, wire: Wire, mark: str) -> tuple[int, bytes]:
    """The size that `SEND` announces with ``mark``, and what came behind it already. Raises `TransferFailed`,
    `ConnectionLost`."""
    wire.end_input()
    line = re.compile(rb"%s (\d+)\n" % mark.encode())
    head, err = b"", b""
    while True:
        turn = wire.turn(memoryview(b""), STALL_TIMEOUT)
        head, err = head + turn.stdout, (err + turn.stderr)[-4096:]
        if found := line.search(head):  # what a login shell's start-up files print comes before it
            return int(found[1]), head[found.end():]
        if turn.ended:
            _check(host, wire, err)
            raise ConnectionLost(host, "the host sent nothing")
        _moved(host, turn)


def receive(host: str, wire: Wire, size: int, first: bytes, sink: BinaryIO, progress: Progress | None) -> None:
    """Stream what `SEND` sends after its announcement into ``sink``, ``first`` before it. Raises `TransferFailed`,
    `ConnectionLost`; then ``sink`` holds a part."""
    sink.write(first)
    got, err = len(first), b""
    sink.flush()
    file = sink.fileno() if isinstance(sink, io.BufferedWriter) and isinstance(sink.raw, io.FileIO) else None
    while True:
        if file is not None and isinstance(wire, ProcessWire):
            moved, turn = wire.drain(file, STALL_TIMEOUT)
        else:
            turn = wire.turn(memoryview(b""), STALL_TIMEOUT)
            sink.write(turn.stdout)
            moved = len(turn.stdout)
        err = (err + turn.stderr)[-4096:]
        got += moved
        if progress is not None and (moved or turn.ended):
            progress(got, size)
        if turn.ended:
            break
        if not moved:
            _moved(host, turn)
    if file is not None and sink.seekable():
        sink.seek(os.lseek(file, 0, os.SEEK_CUR))  # the sink itself has not seen what the kernel moved
    _check(host, wire, err)


def _moved(host: str, turn: Turn) -> None:
    if not turn.sent and not turn.stdout and not turn.stderr:
        raise ConnectionLost(host, f"the transfer stood still for {STALL_TIMEOUT:g} s")


def _check(host: str, wire: Wire, err: bytes) -> None:
    status = wire.status(10.0)
    if status is None:
        raise ConnectionLost(host, "the connection broke during a transfer")
    if status != 0:
        said = err.decode("utf-8", "replace").strip()
        raise TransferFailed(host, said.splitlines()[-1] if said else f"exit {status}")


