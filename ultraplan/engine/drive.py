"""Drives a run: asks the conductor what may start, lets workers do it, makes decisions durable. The only loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ultraplan.engine.ahead import MOST, SentAhead
from ultraplan.engine.backward import Backward
from ultraplan.engine.conduct import Run as Start
from ultraplan.engine.conduct import Skip
from ultraplan.engine.faults import fault
from ultraplan.engine.forward import Forward
from ultraplan.engine.recover import Recovery
from ultraplan.engine.run import Run, Stopped
from ultraplan.engine.shape import Key
from ultraplan.journal.base import JournalError, LeaseLost
from ultraplan.journal.events import RunClosed, Skipped

MOST_WORKERS = 128
"""Operations under way at once, at most."""


class EngineError(Exception):
    """Something that must not happen did: a mistake in ultraplan, not in the plan. The journal is as it was."""


class Driver:
    """Runs one run to its end (or to an orderly stop)."""

    def __init__(self, run: Run, store_renew_every: float = 10.0) -> None:
        self._run = run
        recovery = Recovery(run)
        self._do: dict[str, Callable[[str, str], None]] = {
            "forward": Forward(run, recovery), "reverse": Backward(run, recovery)}
        self._done: queue.SimpleQueue[tuple[Sequence[Key], str, Future[None]] | None] = queue.SimpleQueue()
        self._ahead = SentAhead(run, recovery, lambda: self._done.put(None))
        self._renew_every = store_renew_every
        self._finished = threading.Event()

    def drive(self) -> RunClosed:
        """Go on until the run is closed; gives its closing event. Raises `LeaseLost`, `Fenced`, `JournalError`."""
        hosts = max(1, len(self._run.graph.hosts))
        workers = min(MOST_WORKERS, max(4, 2 * hosts))
        keeper = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        keeper.start()
        try:
            with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="op") as pool:
                return self._loop(pool)
        finally:
            self._finished.set()
            keeper.join()

    def _loop(self, pool: ThreadPoolExecutor) -> RunClosed:
        in_flight = 0
        while True:
            closed = self._decide_all(in_flight)
            if closed is not None:
                return closed
            for action in self._startable():
                in_flight += 1
                self._start(pool, action)
            if in_flight == 0:
                if self._run.stopping.is_set():
                    return self._close(RunClosed(status="interrupted", cause="stopped by a person"))
                with self._run.lock:
                    if self._run.conductor.decide() is None and not self._run.conductor.ready():
                        raise EngineError(f"run {self._run.id}: nothing may start and nothing is decided")
                continue
            done = self._done.get()
            if done is not None:  # else something is over of what a worker goes on with
                in_flight -= 1
                self._take(*done)

    def _start(self, pool: ThreadPoolExecutor, action: Start) -> None:
        keys = [(action.node, action.host)]
        if action.direction == "forward":
            keys = self._run.ahead(keys[0], self._ahead.fits, MOST)
        for node, host in keys:
            self._run.begin(node, host, action.direction)
        future = (pool.submit(self._ahead, keys) if len(keys) > 1
                  else pool.submit(self._do[action.direction], action.node, action.host))
        future.add_done_callback(lambda future: self._done.put((keys, action.direction, future)))

    def _take(self, keys: Sequence[Key], direction: str, future: Future[None]) -> None:
        error = future.exception()
        if isinstance(error, Stopped):
            for node, host in keys:
                self._run.abandon(node, host, direction)
        elif error is not None:
            self._run.stopping.set()
            raise error

    def _startable(self) -> list[Start]:
        """Operations to start now; those that are not needed are journaled as skipped until only real ones are left."""
        while True:
            if self._run.stopping.is_set():
                return []
            with self._run.lock:
                actions = self._run.conductor.ready()
            skips = [action for action in actions if isinstance(action, Skip)]
            if not skips:
                return [action for action in actions if isinstance(action, Start)]
            self._run.write(*(Skipped(
                op=self._run.op(skip.node, skip.host), node=skip.node, host=skip.host,
                direction=skip.direction, why=skip.why) for skip in skips))  # type: ignore[arg-type]

    def _decide_all(self, in_flight: int) -> RunClosed | None:
        while True:
            with self._run.lock:
                decision = self._run.conductor.decide()
            if decision is None:
                return None
            if isinstance(decision, RunClosed):
                if in_flight:
                    return None
                return self._close(decision)
            self._run.write(decision)

    def _close(self, event: RunClosed) -> RunClosed:
        fault("before-close")
        self._run.write(event)
        return event

    def _keep_lease(self) -> None:
        while not self._finished.wait(self._renew_every):
            try:
                self._run.store.renew(self._run.lease)
            except LeaseLost:
                self._run.stopping.set()  # hosts refuse our epoch by now; the next write says so
                return
            except JournalError:
                continue  # a full disk, say: the next event says so; until somebody takes over, nothing is lost
