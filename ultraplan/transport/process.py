"""`Wire` over a process of this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ultraplan.transport.wire import Turn

_CHUNK = 1024 * 1024
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS)  # what the file lies on cannot do it


class ProcessWire:
    """A process with three pipes, in a session and process group of its own.

    Raises OSError where the program cannot be started.
    """

    def __init__(self, words: Sequence[str], *, pipe: int = -1) -> None:
        """``pipe``: how many bytes each pipe holds; -1 for what the system gives."""
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, pipesize=pipe,
            start_new_session=True)
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (pipe.fileno() for pipe in pipes if pipe is not None)
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)
        self._poll = select.poll()
        self._open = {self._out, self._err}
        for fd in self._open:
            self._poll.register(fd, select.POLLIN)
        self._closed = False
        # The process may be killed while a child of it keeps the pipes: only this tells.
        self._watch = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else None
        if self._watch is not None:
            self._poll.register(self._watch, select.POLLIN)

    @property
    def pid(self) -> int:
        """Its process id and, as it leads its group, its process group id."""
        return self._process.pid

    def turn(self, data: memoryview, timeout: float | None) -> Turn:
        """See `Wire.turn`."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._closed:
                return Turn(ended=True)
            turn = self._move(partial(self._write, data) if data else None, self._take, _left(until))
            # The end of one stream, or of the input, is an event, but nothing that moved.
            if turn.sent or turn.stdout or turn.stderr or turn.ended:
                return turn
            if _over(until):
                return turn

    def pour(self, source: int, timeout: float | None) -> Turn | None:
        """`turn` with the next bytes of an open file: the kernel moves them. None where it has no more."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            try:
                turn = self._move(partial(self._splice, source), self._take, _left(until))
            except EOFError:
                return None
            if turn.sent or turn.stdout or turn.stderr or turn.ended or _over(until):
                return turn
        return Turn(ended=True)

    def drain(self, sink: int, timeout: float | None) -> tuple[int, Turn]:
        """`turn` without input, where stdout goes into an open file: the kernel moves it. Returns how many bytes, too.
        Raises OSError where the file takes no more."""
        until = None if timeout is None else time.monotonic() + timeout
        moved = 0

        def into(fd: int) -> bytes:
            nonlocal moved
            moved += (count := self._splice_out(fd, sink))
            if not count and not self._closed:
                return self._take(fd)  # nothing there yet, or the end
            return b""

        while not self._closed:
            turn = self._move(None, into, _left(until))
            if turn.stdout:
                moved += _write_all(sink, turn.stdout)
                turn = replace(turn, stdout=b"", ended=False)
            if moved or turn.stderr or turn.ended or _over(until):
                return moved, replace(turn, ended=turn.ended and not moved)
        return moved, Turn(ended=True)

    def _move(self, write: Callable[[], int] | None, take: Callable[[int], bytes], timeout: float | None) -> Turn:
        writing = write is not None and self._in >= 0
        if writing:
            self._poll.register(self._in, select.POLLOUT)
        try:
            events = dict(self._poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))))
        finally:
            if writing:
                self._poll.unregister(self._in)
        sent = write() if write is not None and self._in in events else 0
        stdout = take(self._out) if self._out in events else b""
        stderr = self._take(self._err) if self._err in events else b""
        gone = self._watch in events and not stdout and not stderr
        return Turn(sent, stdout, stderr, ended=not self._open or gone)

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._in, data[:_CHUNK])
        except BlockingIOError:
            return 0
        except BrokenPipeError:  # its last words, and its end, are still to be read
            self.end_input()
            return 0

    def _splice(self, source: int) -> int:
        try:
            sent = os.splice(source, self._in, _CHUNK)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self.end_input()
            return 0
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            data = os.read(source, _CHUNK)
            sent = self._write(memoryview(data)) if data else 0
            os.lseek(source, sent - len(data), os.SEEK_CUR)
            if data:
                return sent
        if not sent:
            raise EOFError
        return sent

    def _splice_out(self, fd: int, sink: int) -> int:
        try:
            return os.splice(fd, sink, _CHUNK)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            return 0

    def _take(self, fd: int) -> bytes:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            if self._closed:  # by another thread
                return b""
            raise
        if not data:
            self._poll.unregister(fd)
            self._open.discard(fd)
        return data

    def end_input(self) -> None:
        """See `Wire.end_input`."""
        if self._in >= 0 and self._process.stdin is not None:
            self._process.stdin.close()
            self._in = -1

    def status(self, timeout: float) -> int | None:
        """See `Wire.status`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(max(timeout, 0.0))
        return None

    def close(self) -> None:
        """See `Wire.close`. Waits a moment for a process that ends when its input does."""
        if self._closed:
            return
        self._closed = True
        self.end_input()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._watch is not None:
            os.close(self._watch)
        self.status(0.2)


def _left(until: float | None) -> float | None:
    return None if until is None else until - time.monotonic()


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def _write_all(sink: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(sink, left) :]
    return len(data)
