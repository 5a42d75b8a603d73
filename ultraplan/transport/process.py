"""`Wire` over a process of this machine."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Sequence

from ultraplan.transport.wire import Turn

_CHUNK = 1024 * 1024


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
            turn = self._move(data, None if until is None else until - time.monotonic())
            # The end of one stream, or of the input, is an event, but nothing that moved.
            if turn.sent or turn.stdout or turn.stderr or turn.ended:
                return turn
            if until is not None and time.monotonic() >= until:
                return turn

    def _move(self, data: memoryview, timeout: float | None) -> Turn:
        writing = bool(data) and self._in >= 0
        if writing:
            self._poll.register(self._in, select.POLLOUT)
        try:
            events = dict(self._poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))))
        finally:
            if writing:
                self._poll.unregister(self._in)
        sent = self._write(data) if self._in in events else 0
        stdout = self._read(self._out) if self._out in events else b""
        stderr = self._read(self._err) if self._err in events else b""
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

    def _read(self, fd: int) -> bytes:
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
