"""The default store: one SQLite file (WAL, synchronous=FULL), for threads and processes of one machine."""

from __future__ import annotations

import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from ultraplan.journal import leases
from ultraplan.journal.base import JournalDamaged, JournalError, Lease, Locked, RunInfo
from ultraplan.journal.chain import digest, genesis, link, seal
from ultraplan.journal.database import TROUBLE, connect, explain, prepare
from ultraplan.journal.events import Event, Record, RunClosed, RunOpened, TakenOver, decode, encode
from ultraplan.journal.writer import Writer

T = TypeVar("T")

_PAGE = 1000  # records read at a time, so that no reader keeps the write-ahead log from being folded in


class _Head(NamedTuple):
    """A row of ``runs``: where the run's records begin and end."""

    number: int
    run: str
    created: float
    genesis: bytes
    records: int
    head: bytes
    status: str
    changed: float
    seal: bytes

    def sealed(self) -> _Head:
        return self._replace(seal=seal(self[:-1]))

    @property
    def good(self) -> bool:
        return self.seal == seal(self[:-1])


class SQLiteStore:
    """A `Store` in the file ``path``; made, with its folder, where it is missing. Raises `JournalError`.

    ``clock`` is read for the times of records and leases.
    """

    def __init__(self, path: Path, *, clock: leases.Clock = leases.now) -> None:
        self.path = path
        self._clock = clock
        prepare(path)
        self._writer = Writer(lambda: connect(path, writes=True), lambda error: explain(path, error))
        self._reader = connect(path, writes=False)
        self._reading = threading.Lock()

    @property
    def commits(self) -> int:
        """Transactions (so disk flushes) of this process so far; fewer than appends, by group commit."""
        return self._writer.commits

    def create(self, run: str, bundle: bytes, lease: Lease) -> None:
        """A new, empty journal; raises `JournalError` where the run exists, `LeaseLost`."""

        def job(db: sqlite3.Connection) -> None:
            leases.check(db, lease)
            if db.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone() is not None:
                raise JournalError(f"{self.path}: there is a run {run} already")
            start = genesis(run, digest(bundle))
            at = self._clock().wall
            (number,) = db.execute(
                "INSERT INTO runs (run, created, genesis, records, head, status, changed, seal)"
                " VALUES (?, ?, ?, 0, ?, 'open', ?, x'') RETURNING number",
                (run, at, start, start, at)).fetchone()
            head = _Head(number, run, at, start, 0, start, "open", at, b"").sealed()
            db.execute("UPDATE runs SET seal = ? WHERE number = ?", (head.seal, number))
            db.execute("INSERT INTO bundles VALUES (?, ?)", (number, bundle))

        self._writer.run(job)

    def bundle(self, run: str) -> bytes:
        """What the run was created with; KeyError for an unknown run, `JournalDamaged`."""
        rows = self._query("SELECT bundle, genesis FROM bundles JOIN runs ON number = bundles.run"
                           " WHERE runs.run = ?", run)
        if not rows:
            if not self._query("SELECT 1 FROM runs WHERE run = ?", run):
                raise KeyError(run)
            raise self._bundle_damaged(run, "gone")
        bundle, start = rows[0]
        if not isinstance(bundle, bytes) or start != genesis(run, digest(bundle)):
            raise self._bundle_damaged(run, "not what was written")
        return bundle

    def append(self, run: str, events: Sequence[Event], lease: Lease | None = None) -> list[Record]:
        """Durable on return; see `Store.append`."""
        payloads = [encode(event) for event in events]

        def job(db: sqlite3.Connection) -> list[Record]:
            if lease is not None:
                leases.check(db, lease)
            head = self._head(db.execute("SELECT * FROM runs WHERE run = ?", (run,)).fetchall(), run)
            if not head.good:
                raise self._damaged(run, 0, f"{self.path}: the end of the run is not what was written")
            at, status, seq, last = self._clock().wall, head.status, head.records, head.head
            rows, records = [], []
            for event, payload in zip(events, payloads, strict=True):
                seq += 1
                last = link(last, seq, at, payload)
                rows.append((head.number, seq, at, payload, last))
                records.append(Record(seq, at, event))  # type: ignore[arg-type]  # every concrete event is an AnyEvent
                if isinstance(event, RunClosed):
                    status = event.status
                elif isinstance(event, TakenOver):
                    status = "open"
            if rows:
                db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
                after = head._replace(records=seq, head=last, status=status, changed=at).sealed()
                db.execute("UPDATE runs SET records = ?, head = ?, status = ?, changed = ?, seal = ?"
                           " WHERE number = ?", (seq, last, status, at, after.seal, head.number))
            return records

        return self._writer.run(job)

    def read(self, run: str, after: int = 0) -> Iterator[Record]:
        """The records after number ``after`` that are there at the first `next`, each checked.

        Raises `JournalDamaged`.
        """
        head = self._head(self._query("SELECT * FROM runs WHERE run = ?", run), run)
        seq, last, page = after, head.genesis, _PAGE
        try:
            if after > 0:
                before = self._query("SELECT hash FROM records WHERE run = ? AND seq = ?", head.number, after)
                if not before and head.good and after >= head.records:
                    return
                last = before[0][0] if before else b""
            while seq < head.records:
                try:
                    rows = self._query(
                        "SELECT seq, time, payload, hash FROM records WHERE run = ? AND seq > ? AND seq <= ?"
                        " ORDER BY seq LIMIT ?", head.number, seq, head.records, page)
                except JournalError:
                    if page == 1:
                        raise
                    page //= 2  # the records before the damage can still be read
                    continue
                for number, time, payload, hashed in rows:
                    if number != seq + 1 or hashed != link(last, number, time, payload):
                        raise ValueError("a link of the chain does not hold")
                    record = Record(number, time, decode(payload))
                    seq, last = number, hashed
                    yield record
                if not rows:
                    raise ValueError("the chain ends too early")
        except JournalDamaged as error:  # the file's structure: SQLite cannot read on
            raise self._damaged(run, seq, str(error)) from None
        except (msgspec.DecodeError, ValueError, TypeError, struct.error):
            raise self._damaged(run, seq) from None
        if not head.good or (seq == head.records and last != head.head):
            raise self._damaged(run, seq)

    def runs(self) -> list[RunInfo]:
        """All runs, newest first. One that cannot be trusted has the status ``damaged``."""
        rows = self._query("SELECT runs.*, time, payload, hash FROM runs LEFT JOIN records"
                           " ON records.run = number AND seq = 1 ORDER BY number DESC")
        with self._reading:
            try:
                holders = leases.holders(self._reader)
            except TROUBLE as error:
                raise explain(self.path, error) from None
        return [self._info(_Head(*row[:9]), row[9:], holders) for row in rows]

    def find(self, prefix: str) -> str:
        """The run whose id starts with ``prefix``; see `Store.find`."""
        if prefix == "last":
            rows = self._query("SELECT run FROM runs NOT INDEXED ORDER BY number DESC LIMIT 1")
            if not rows:
                raise JournalError(f"{self.path}: there are no runs yet")
        else:
            rows = self._query("SELECT run FROM runs NOT INDEXED WHERE substr(run, 1, length(?1)) = ?1"
                               " ORDER BY run <> ?1, number DESC LIMIT 11", prefix)
            if not rows or not prefix:
                raise JournalError(
                    f"{self.path}: no run's id starts with {prefix!r}; `ultraplan runs` lists them")
            if len(rows) > 1 and rows[0][0] != prefix:
                some = ", ".join(run for run, in rows[:10]) + (", …" if len(rows) > 10 else "")
                raise JournalError(f"{self.path}: {prefix!r} could be any of {some}; give more of the id")
        return str(rows[0][0])

    def acquire(self, names: Sequence[str], run: str, holder: str, ttl: float) -> Lease:
        """All of ``names`` or none; see `Store.acquire`."""
        lease = self._leased(lambda db: leases.acquire(db, names, run, holder, ttl, self._clock()))
        if isinstance(lease, Locked):
            raise lease
        return lease

    def renew(self, lease: Lease) -> None:
        """Start its time anew; raises `LeaseLost`."""
        self._leased(lambda db: leases.renew(db, lease, self._clock()))

    def release(self, lease: Lease) -> None:
        """Give the locks back; nothing happens where they are lost already."""
        self._leased(lambda db: leases.release(db, lease))

    def prune(self, run: str) -> None:
        """Remove a closed run; raises `JournalError` for one that is open, or that somebody is at work on."""

        def job(db: sqlite3.Connection) -> None:
            head = self._head(db.execute("SELECT * FROM runs WHERE run = ?", (run,)).fetchall(), run)
            if head.good and head.status == "open":
                raise JournalError(f"run {run} is open; `ultraplan resume` or `ultraplan rollback` it first")
            if holders := leases.held_for(db, run, self._clock()):
                raise JournalError(f"run {run} is in the hands of {', '.join(holders)}")
            for table, column in (("records", "run"), ("bundles", "run"), ("runs", "number")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (head.number,))  # noqa: S608 - names are ours

        self._writer.run(job)

    def close(self) -> None:
        """Finish what was asked for and close the file."""
        self._writer.close()
        with self._reading:
            self._reader.close()

    def _leased(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """A job with leases, which carry no hash: what a column cannot hold is damage."""
        try:
            return self._writer.run(job)
        except (TypeError, ValueError, OverflowError) as error:
            raise explain(self.path, sqlite3.DatabaseError(f"the locks: {error}")) from None

    def _query(self, text: str, *values: Any) -> list[Any]:
        with self._reading:
            try:
                return self._reader.execute(text, values).fetchall()
            except sqlite3.ProgrammingError:
                raise JournalError(f"{self.path}: the journal is closed") from None
            except TROUBLE as error:
                raise explain(self.path, error) from None

    def _head(self, rows: list[Any], run: str) -> _Head:
        if not rows and self._query("SELECT 1 FROM runs NOT INDEXED WHERE run = ?", run):
            raise self._damaged(run, 0, f"{self.path}: an index is damaged")
        if not rows:
            raise JournalError(f"{self.path}: there is no run {run}; `ultraplan runs` lists them")
        head = _Head(*rows[0])
        if head.run != run:
            raise self._damaged(run, 0, f"{self.path}: an index is damaged")
        return head

    def _info(self, head: _Head, first: Sequence[Any], holders: dict[str, str]) -> RunInfo:
        time, payload, hashed = first
        if not head.good:  # nothing in the row can be trusted, not even to be of its column's type
            return RunInfo(str(head.run), "", 0.0, 0.0, "damaged", ())
        plan, opened, hosts, status = "", head.created, tuple[str, ...](), head.status
        try:
            if head.records > 0 and hashed != link(head.genesis, 1, time, payload):
                raise ValueError
            event = decode(payload) if payload is not None else None
            if isinstance(event, RunOpened):
                plan, opened, hosts = event.plan, time, tuple(event.hosts)
        except (msgspec.DecodeError, ValueError, TypeError, struct.error):
            status = "damaged"
        return RunInfo(head.run, plan, opened, head.changed, status, hosts, holders.get(head.run))

    def _damaged(self, run: str, good: int, why: str = "") -> JournalDamaged:
        trusted = f"what comes before it can be trusted (`ultraplan runs show {run}` tells it)" if good else (
            "nothing of it can be trusted")
        return JournalDamaged(
            f"{why or self.path}: run {run} is damaged after record {good}; {trusted}, and no effect will be built on"
            " it. Restore the file from a copy; without one, look at the hosts: the receipts in runs/RUN of their state"
            " folders tell what was begun", good)

    def _bundle_damaged(self, run: str, how: str) -> JournalDamaged:
        return JournalDamaged(
            f"{self.path}: the bundle of run {run} is {how}, so nothing can go on with it; `ultraplan runs show {run}`"
            " tells what is known of it. Restore the file from a copy", 0)
