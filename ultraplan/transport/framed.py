"""`FramedShell`: the `Shell` of the contract over any wire."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence

from ultraplan.shell import Reply
from ultraplan.transport import framing
from ultraplan.transport.base import Ahead, ConnectionLost, DeadlineExceeded, TransportError, Unreachable
from ultraplan.transport.framing import FrameError, Parser, Part
from ultraplan.transport.wire import Turn, Wire

START_TIMEOUT = 30.0
IDLE = 0.25
"""Seconds after which somebody who waits for a stream of answers may do something else."""
_NOTHING = memoryview(b"")
_DRAIN_TURNS = 64  # something in the background may print for ever

Starter = Callable[[], Wire]
"""Starts a `sh` that reads its program from stdin; raises `Unreachable`."""
Killer = Callable[[int], None]
"""Ends the process group of a shell, given its pid there."""
Explainer = Callable[[int | None, str], Unreachable]
"""The error for a shell that did not start, given its exit code (None: unknown) and what it printed."""


class FramedShell:
    """A persistent ``sh``, started at the first use and again after a loss.

    ``pid`` is the shell's process id on the host (None while there is no shell). Not for use by two threads
    at once.
    """

    def __init__(self, host: str, start: Starter, kill: Killer, explain: Explainer) -> None:
        self.host = host
        self.pid: int | None = None
        self._start, self._kill, self._explain = start, kill, explain
        self._wire: Wire | None = None
        self._number = 0

    def run(self, text: str, *, timeout: float | None = None) -> Reply:
        """See `Shell.run`."""
        return self.run_many([text], timeout=timeout)[0]

    def run_many(self, texts: Sequence[str], *, timeout: float | None = None,
                 stop_on_error: bool = False) -> list[Reply]:
        """See `Shell.run_many`; ``timeout`` is for all of them together. Raises ValueError for a NUL
        character in a text, before anything is sent."""
        if not texts:
            return []
        until = None if timeout is None else time.monotonic() + timeout
        stops = [True] * len(texts) if stop_on_error else None
        return list(self._answers(texts, stops, lambda _: until, timeout, None))

    def stream(self, programs: Sequence[Ahead], idle: Callable[[], None]) -> Iterator[Reply]:
        """See `Shell.stream`."""
        if not programs:
            return iter(())

        def until(number: int) -> float | None:
            limit = programs[number].timeout
            return None if limit is None else time.monotonic() + limit

        return self._answers([one.text for one in programs], [one.stops for one in programs], until, None, idle)

    def close(self) -> None:
        """Let go of the shell; it ends when its present program does."""
        wire, self._wire, self.pid = self._wire, None, None
        if wire is not None:
            wire.close()

    # -- below: how

    def _answers(self, texts: Sequence[str], stops: Sequence[bool] | None, until: Callable[[int], float | None],
                 timeout: float | None, idle: Callable[[], None] | None) -> Iterator[Reply]:
        """Send all, give the answers as they come. ``until``: when the program with this index has to have answered,
        asked when the one before it did."""
        data = framing.frames(texts, self._number + 1, stops)
        wire = self._ready()
        first, self._number = self._number + 1, self._number + len(texts)
        try:
            yield from self._collect(wire, memoryview(data), first, len(texts), until, stops, idle)
        except TimeoutError:
            within = "in time" if timeout is None else f"within {timeout:g} s"
            raise DeadlineExceeded(self.host, f"no answer {within}; {self._end_group()}",
                                   "raise the step's timeout if it may take longer") from None
        except FrameError as error:
            self.close()
            raise ConnectionLost(self.host, f"the shell's answer cannot be read: {error}") from None
        except BaseException:  # an interrupt too: the answer to come must not be taken for another's
            self.close()
            raise

    def _ready(self) -> Wire:
        """A live shell between two programs. Output that something in the background left is dropped."""
        if self._wire is None:
            return self._open()
        for _ in range(_DRAIN_TURNS):
            turn = self._wire.turn(_NOTHING, 0)
            if turn.ended:  # nothing was sent yet, so opening another is safe
                self.close()
                return self._open()
            if not turn.stdout and not turn.stderr:
                break
        self._out.skip()
        self._err.skip()
        return self._wire

    def _open(self) -> Wire:
        nonce = secrets.token_hex(16)
        self._out, self._err = Parser(nonce), Parser(nonce)
        self._wire = wire = self._start()
        try:
            until = time.monotonic() + START_TIMEOUT
            greeting, = self._collect(wire, memoryview(framing.opening(nonce)), 0, 1, lambda _: until, None, None)
        except TimeoutError:
            self.close()
            raise Unreachable(self.host, f"no shell within {START_TIMEOUT:g} s") from None
        except (ConnectionLost, FrameError):
            said = self._err.unfinished() + self._out.unfinished()
            status = wire.status(1.0)
            self.close()
            raise self._explain(status, said.decode("utf-8", "replace").strip()) from None
        except BaseException:
            self.close()
            raise
        self.pid = greeting.exit
        return wire

    def _collect(self, wire: Wire, data: memoryview, first: int, count: int, until: Callable[[int], float | None],
                 stops: Sequence[bool] | None, idle: Callable[[], None] | None) -> Iterator[Reply]:
        """Send ``data`` while answers come; raises TimeoutError at the deadline."""
        out: list[Part] = []
        err: list[Part] = []
        got, deadline = 0, until(0)
        looked = time.monotonic()
        while got < count or data:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            turn = wire.turn(data, left if idle is None else min(IDLE, left if left is not None else IDLE))
            data = data[turn.sent :]
            self._take(turn, out, err)
            while out and err:
                reply = _reply(out.pop(0), err.pop(0), first + got)
                got += 1
                if stops is not None and stops[got - 1] and reply.exit != 0:
                    count = got
                elif got < count:
                    deadline = until(got)
                yield reply
            if idle is not None and got < count and time.monotonic() - looked >= IDLE:
                idle()
                looked = time.monotonic()
            if turn.ended and got < count:
                raise ConnectionLost(self.host, "the connection broke while a program was out")
            if turn.ended:
                break

    def _take(self, turn: Turn, out: list[Part], err: list[Part]) -> None:
        if turn.stdout:
            out += self._out.feed(turn.stdout)
        if turn.stderr:
            err += self._err.feed(turn.stderr)

    def _end_group(self) -> str:
        """After a deadline: end all that the shell started, and let go of the shell. Returns how that went."""
        pid = self.pid
        try:
            if pid is not None:
                self._kill(pid)
            return "the program was ended"
        except TransportError as error:
            return f"the program could not be ended: {error}"
        finally:
            self.close()


def _reply(out: Part, err: Part, number: int) -> Reply:
    if out.number != number or err.number != number or out.status != err.status:
        raise FrameError("answers are out of order")
    return Reply(out.status, out.data, err.data, out.truncated or err.truncated)

