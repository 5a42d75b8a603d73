"""Streams between threads and formats: bounded, so that memory does not grow with what passes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ultraplan.backup.errors import Damaged
from ultraplan.backup.stores.base import Reader, Writer

_ROOM = 4 << 20
"""Bytes that may wait between two threads."""

MEBIBYTE = 1 << 20

Tick = Callable[[int], None]
"""Called with numbers of bytes as they pass."""


class Broken(Exception):
    """The other side of a pipe is gone; its own error is what matters."""


class Pipe:
    """A bounded queue of bytes from one thread to another, that carries failures both ways.

    The reader sees the writer's failure as `Broken`, not as an end; the writer sees a reader that went away.
    """

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._broken = False
        self._change = threading.Condition()

    def write(self, data: bytes) -> int:
        """Hand ``data`` over; waits while there is no room. Raises `Broken`."""
        with self._change:
            while self._waiting >= _ROOM and not self._broken:
                self._change.wait()
            if self._broken:
                raise Broken
            if data:
                self._parts.append(bytes(data))
                self._waiting += len(data)
                self._change.notify_all()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def end(self) -> None:
        """There is no more."""
        with self._change:
            self._ended = True
            self._change.notify_all()

    def abandon(self) -> None:
        """Either side: something failed; the other one stops with `Broken`."""
        with self._change:
            self._broken = True
            self._parts.clear()
            self._change.notify_all()

    def read(self, count: int = -1) -> bytes:
        """Up to ``count`` bytes, none at the end; raises `Broken`."""
        with self._change:
            while not self._parts and not self._ended and not self._broken:
                self._change.wait()
            if self._broken:
                raise Broken
            if not self._parts:
                return b""
            part = self._parts.popleft()
            if 0 <= count < len(part):
                self._parts.appendleft(part[count:])
                part = part[:count]
            self._waiting -= len(part)
            self._change.notify_all()
            return part


@contextmanager
def produced(produce: Callable[[Pipe], None]) -> Iterator[Pipe]:
    """A pipe that ``produce`` fills, in a thread of its own. Leaving the block waits for it.

    The block's own failure stops ``produce``; a failure of ``produce`` is raised in place of the `Broken` that the
    block saw of it.
    """
    pipe = Pipe()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            produce(pipe)
            pipe.end()
        except BaseException as error:  # noqa: BLE001 - raised again by the other thread
            failure.append(error)
            pipe.abandon()

    thread = threading.Thread(target=work, name="backup-producer", daemon=True)
    thread.start()
    try:
        yield pipe
    except BaseException as error:
        pipe.abandon()
        thread.join()
        if failure and not isinstance(failure[0], Broken) and _is_broken(error):
            raise failure[0] from None
        raise
    else:
        pipe.abandon()  # what was not read is not wanted
        thread.join()
        if failure and not isinstance(failure[0], Broken):
            raise failure[0]


def _is_broken(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, Broken):
            return True
        error = error.__cause__ or error.__context__
    return False


class Summed:
    """A reader that counts and digests what passes; ``limit`` slows it down, ``tick`` hears of it."""

    def __init__(self, source: Reader, tick: Tick | None = None, limit: Limit | None = None) -> None:
        self._source, self._tick, self._limit = source, tick, limit
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, count: int) -> bytes:
        """See `Reader`."""
        if self._limit is not None:
            count = self._limit.portion(count)
        data = self._source.read(count)
        self._digest.update(data)
        self.size += len(data)
        if self._limit is not None:
            self._limit.wait(len(data))
        if self._tick is not None:
            self._tick(len(data))
        return data

    @property
    def sha256(self) -> str:
        """The digest of what has passed."""
        return self._digest.hexdigest()


class Limit:
    """A limit of bytes a second over all that share it, held over any second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        if rate <= 0:
            raise ValueError("a limit is more than nothing")
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._free = clock()
        self._lock = threading.Lock()

    def portion(self, count: int) -> int:
        """How many of ``count`` bytes to move at once, so that nobody waits long."""
        most = max(1, int(self._rate / 4))
        return min(count, most) if count > 0 else most

    def wait(self, count: int) -> None:
        """``count`` bytes have passed: wait as long as they should have taken."""
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now) + count / self._rate
            left = self._free - now
        if left > 0:
            self._sleep(left)


class Pieces:
    """Digests of each mebibyte of a stream, kept from a first reading to hold a second one to it: 32 bytes each."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._hash = hashlib.sha256()
        self._filled = 0

    def add(self, data: bytes) -> None:
        """The next bytes of the first reading."""
        view = memoryview(data)
        while view:
            part = view[:MEBIBYTE - self._filled]
            self._hash.update(part)
            self._filled += len(part)
            view = view[len(part):]
            if self._filled == MEBIBYTE:
                self.end()

    def end(self) -> None:
        """The first reading is over (or a mebibyte of it)."""
        if self._filled:
            self._digests += self._hash.digest()
            self._hash, self._filled = hashlib.sha256(), 0

    def checked(self, source: Reader) -> Reader:
        """The second reading: gives only bytes that are those of the first; raises `Damaged` else."""
        return _Checked(source, bytes(self._digests))


class _Checked:
    def __init__(self, source: Reader, digests: bytes) -> None:
        self._source, self._digests = source, digests
        self._number = 0
        self._ready = memoryview(b"")

    def read(self, count: int) -> bytes:
        if not self._ready:
            self._ready = memoryview(self._next())
        part = self._ready[:count] if count >= 0 else self._ready
        self._ready = self._ready[len(part):]
        return bytes(part)

    def _next(self) -> bytes:
        parts, size = [], 0
        while size < MEBIBYTE and (data := self._source.read(MEBIBYTE - size)):
            parts.append(data)
            size += len(data)
        piece = b"".join(parts)
        wanted = self._digests[32 * self._number:32 * self._number + 32]
        if piece or wanted:
            if hashlib.sha256(piece).digest() != wanted:
                raise Damaged("the content is not what it was a moment ago, when it was checked",
                              "something writes to the store, or its disk fails; nothing was put in place")
            self._number += 1
        return piece


def drained(source: Reader, sink: Writer) -> None:
    """Move everything from ``source`` to ``sink``."""
    while data := source.read(MEBIBYTE):
        sink.write(data)
