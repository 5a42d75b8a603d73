"""Group commit: one thread writes, and whatever came up while it was flushing shares the next flush."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from ultraplan.journal.base import JournalError
from ultraplan.journal.database import TROUBLE

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
_MOST = 512  # jobs in one transaction


class Writer:
    """Runs jobs in transactions on a thread of its own, so that an interrupt never hits a half-made one.

    A job is a function of the connection that may be run again after its transaction was rolled back. What it
    raises goes to its caller, and undoes that job alone. ``explain`` words an SQLite error for people.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], explain: Callable[[Exception], JournalError],
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._queue: queue.SimpleQueue[tuple[Job, Future[Any]] | None] = queue.SimpleQueue()
        self._process = os.getpid()
        self._closing = threading.Lock()
        self._closed = False
        self.commits = 0
        """Transactions made durable so far."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(ready,), name="journal", daemon=True)
        self._thread.start()
        ready.result()

    def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``job``; what it gives, once that is durable. Raises what it raises, or `JournalError`."""
        result: Future[Any] = Future()
        with self._closing:
            if self._closed or self._process != os.getpid():
                raise JournalError("the journal is closed here (or was opened before a fork); open it again")
            self._queue.put((job, result))
        return cast(T, result.result())

    def close(self) -> None:
        """Finish what was asked for, then end the thread. More than once is fine."""
        with self._closing:
            if self._closed or self._process != os.getpid():
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self, ready: Future[None]) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the thread that waits
            ready.set_exception(error)
            return
        ready.set_result(None)
        going = True
        while going:
            batch = [self._queue.get()]
            while len(batch) < _MOST:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            going = None not in batch
            jobs = [entry for entry in batch if entry is not None]
            if jobs:
                self._commit(connection, jobs)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, jobs: Sequence[tuple[Job, Future[Any]]]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except TROUBLE as error:
            _fail(jobs, self._explain(error))
            return
        try:
            answers = [_attempt(connection, job) for job, _ in jobs]
            connection.execute("COMMIT")
        except TROUBLE as error:
            _roll_back(connection)
            if len(jobs) == 1:
                _fail(jobs, self._explain(error))
            else:  # one of them may be the reason: each on its own
                for entry in jobs:
                    self._commit(connection, [entry])
            return
        self.commits += 1
        for (_, result), (value, refusal) in zip(jobs, answers, strict=True):
            if refusal is None:
                result.set_result(value)
            else:
                result.set_exception(refusal)


def _attempt(connection: sqlite3.Connection, job: Job) -> tuple[Any, Exception | None]:
    connection.execute("SAVEPOINT job")
    try:
        answer: tuple[Any, Exception | None] = job(connection), None
    except TROUBLE:
        raise
    except Exception as refusal:  # noqa: BLE001 - it goes to the caller of `run`
        connection.execute("ROLLBACK TO job")
        answer = None, refusal
    connection.execute("RELEASE job")
    return answer


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:  # SQLite has rolled back by itself
            return


def _fail(jobs: Sequence[tuple[Job, Future[Any]]], error: JournalError) -> None:
    for _, result in jobs:
        result.set_exception(error)
