"""`Wire` over an SSH channel; and what paramiko leaves out of the protocol that we need."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections import deque
from typing import Any

import paramiko
from paramiko.buffered_pipe import PipeTimeout
from paramiko.common import MSG_CHANNEL_REQUEST

from ultraplan.transport.wire import Turn

WINDOW = 4 * 1024 * 1024
"""How many bytes of output may be on their way: enough for 80 MB/s at 50 ms."""
_CHUNK = 256 * 1024
_AFTER_EXIT = 1.0  # a process's end may overtake its last output by less than this
_LOOK = 1.0  # nothing wakes us when only the exit status arrives


def _on_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    at = message.packet.tell()
    if message.get_text() == "exit-signal":
        message.get_boolean()
        name = f"SIG{message.get_text()}"
        channel.exit_status = 128 + (signal.Signals[name] if name in signal.Signals.__members__ else 0)
        channel.status_event.set()
    message.packet.seek(at)
    channel._handle_request(message)  # type: ignore[attr-defined]


class Transport(paramiko.Transport):
    """paramiko's, with two faults of it mended.

    It drops ``exit-signal`` (RFC 4254 section 6.10): a shell killed while a child of it keeps the channel open would go
    unnoticed. And where a channel ends while new keys are agreed on, its reading thread waits to answer until they are
    there, which it is the one to see to: the connection would end after 512 MB and a little bad luck.
    """

    _channel_handler_table = {  # noqa: RUF012 -- the base class's table, extended
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_REQUEST: _on_request,
    }

    def __init__(self, sock: Any, **more: Any) -> None:
        self._held: list[paramiko.Message] = []
        super().__init__(sock, **more)

    def _send_user_message(self, data: paramiko.Message) -> None:
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._held.append(data)
        else:
            super()._send_user_message(data)  # type: ignore[misc]

    def _parse_newkeys(self, message: paramiko.Message) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc]
        held, self._held = self._held, []
        for data in held:
            self._send_user_message(data)


class _Stream:
    """What arrived on one stream of a channel, in the pieces that it came in.

    In place of paramiko's `BufferedPipe`, whose way to wake a poll writes to a descriptor that another thread may have
    closed: the whole connection would end, or a stranger's file get the byte.
    ``changed`` is shared by a channel's streams.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.ended = False
        self._changed = changed
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def feed(self, data: bytes) -> None:
        """By the thread that reads the connection."""
        with self._changed:
            self._pieces.append(data)
            self._size += len(data)
            self._changed.notify_all()

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def read_ready(self) -> bool:
        return self._size > 0

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """At most ``nbytes``; none after the end. Raises paramiko's `PipeTimeout`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._size or self.ended, timeout):
                raise PipeTimeout
            taken, room = [], nbytes
            while self._pieces and room > 0:
                piece = self._pieces.popleft()
                if len(piece) > room:
                    self._pieces.appendleft(piece[room:])
                    piece = piece[:room]
                taken.append(piece)
                room -= len(piece)
            self._size -= nbytes - room
            return taken[0] if len(taken) == 1 else b"".join(taken)


class ChannelWire:
    """A command on an SSH channel without a terminal. Made before the command is started."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._out, self._err = _Stream(self._changed), _Stream(self._changed)
        channel.in_buffer, channel.in_stderr_buffer = self._out, self._err  # type: ignore[assignment]
        self._exit_seen: float | None = None

    def turn(self, data: memoryview, timeout: float | None) -> Turn:
        """See `Wire.turn`."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            turn = self._move(data)
            if turn.sent or turn.stdout or turn.stderr or turn.ended:
                return turn
            left = _LOOK if until is None else min(_LOOK, until - time.monotonic())
            if left <= 0:
                return turn
            if data:  # the window is shut
                self._await_window(min(left, 0.01))
            else:
                with self._changed:
                    self._changed.wait_for(self._arrived, left)

    def _move(self, data: memoryview) -> Turn:
        channel = self._channel
        finished = channel.closed or channel.eof_received  # looked at first: what came before it is read below
        sent = 0
        if data and not channel.closed and channel.send_ready():
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # its end comes as one, too
                sent = channel.send(bytes(data[:_CHUNK]))
        try:
            stdout = channel.recv(_CHUNK) if channel.recv_ready() else b""
            stderr = channel.recv_stderr(_CHUNK) if channel.recv_stderr_ready() else b""
        except (OSError, EOFError, paramiko.SSHException):  # reading reopens the window, which sends
            return Turn(ended=True)
        over = not stdout and not stderr and bool(finished or self._exited())
        return Turn(sent, stdout, stderr, ended=over)

    def _arrived(self) -> bool:
        return bool(self._out or self._err or self._out.ended)

    def _exited(self) -> bool:
        if not self._channel.exit_status_ready():
            return False
        if self._exit_seen is None:
            self._exit_seen = time.monotonic()
        return time.monotonic() - self._exit_seen > _AFTER_EXIT

    def _await_window(self, timeout: float) -> None:
        with self._channel.lock:
            if self._channel.out_window_size <= 0:
                self._channel.out_buffer_cv.wait(timeout)

    def end_input(self) -> None:
        """See `Wire.end_input`."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def status(self, timeout: float) -> int | None:
        """See `Wire.status`."""
        self._channel.status_event.wait(max(timeout, 0.0))
        status = self._channel.exit_status
        return status if status >= 0 else None

    def close(self) -> None:
        """See `Wire.close`."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


class Heartbeat:
    """Asks the peer of ``transport`` for a sign of life every ``interval`` seconds; closes it ``grace`` seconds
    after one that stays without an answer.

    A cut cable and a stopped machine say nothing; without this a wait on them lasts until TCP gives up.
    """

    def __init__(self, transport: paramiko.Transport, interval: float, grace: float) -> None:
        self._transport, self._interval, self._grace = transport, interval, grace
        self._stop = threading.Event()
        threading.Thread(target=self._watch, name="ssh-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval) and self._transport.is_active():
            answered = threading.Event()
            # On a thread of its own: against a silent peer even the sending may block.
            threading.Thread(target=self._ask, args=(answered,), name="ssh-ping", daemon=True).start()
            if not answered.wait(self._grace):
                self._transport.close()
                return

    def _ask(self, answered: threading.Event) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._transport.global_request("keepalive@openssh.com", wait=True)  # a refusal is an answer, too
        answered.set()


def prompt(sock: Any) -> None:
    """Send small packets at once: Nagle's algorithm costs 40 ms a command."""
    if isinstance(sock, socket.socket) and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
