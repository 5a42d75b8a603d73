"""Locks in the SQLite store: leases with an epoch that only ever grows.

An epoch is the time in milliseconds, or the one after the last where that is more: hosts remember the highest epoch
they saw, and must not turn away a store that is newer than the one it came from (after a lost journal, on another
machine).

A row of ``leases`` is there until somebody takes over one of its names; a lease without a row is lost. A
released one keeps its row (``held`` 0), so that it may write until somebody else came after it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ultraplan.journal.base import Lease, LeaseLost, Locked
from ultraplan.journal.holder import alive, boot_id, describe

SCHEMA = (
    """CREATE TABLE leases (
        epoch INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, holder TEXT NOT NULL, ttl REAL NOT NULL,
        held INTEGER NOT NULL, renewed REAL NOT NULL, boot TEXT NOT NULL, ticks REAL NOT NULL) STRICT""",
    "CREATE TABLE locks (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment: Unix seconds, and seconds on the clock that nobody sets, of the boot it counts from."""

    wall: float
    boot: str
    ticks: float


def now() -> Instant:
    """This moment."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps
    return Instant(time.time(), boot_id(), time.clock_gettime(clock))


Clock = Callable[[], Instant]


def acquire(
    db: sqlite3.Connection, names: Iterable[str], run: str, holder: str, ttl: float, at: Instant,
) -> Lease | Locked:
    """All of ``names`` or, as a value, why not."""
    wanted = tuple(dict.fromkeys(names))
    listed = json.dumps(wanted)
    rows = db.execute(
        "SELECT name, epoch, run, holder, ttl, renewed, boot, ticks FROM locks JOIN leases USING (epoch)"
        " WHERE held AND name IN (SELECT value FROM json_each(?)) ORDER BY name", (listed,)).fetchall()
    gone: dict[tuple[str, str], bool] = {}
    for name, epoch, other_run, other, other_ttl, renewed, boot, ticks in rows:
        if (other_run, other) not in gone:
            gone[other_run, other] = other_run == run and alive(other) is False
        if gone[other_run, other]:
            continue
        age = _age(at, renewed, boot, ticks)
        if age < 0:  # a clock was set back: its time starts anew, so it ends neither early nor never
            db.execute("UPDATE leases SET renewed = ? WHERE epoch = ?", (at.wall, epoch))
        if age <= other_ttl:
            return Locked(name, describe(other), other_run, max(age, 0.0))
    db.execute("DELETE FROM leases WHERE epoch IN"
               " (SELECT epoch FROM locks WHERE name IN (SELECT value FROM json_each(?)))", (listed,))
    (epoch,) = db.execute(
        "INSERT INTO leases (epoch, run, holder, ttl, held, renewed, boot, ticks) VALUES"
        " (max(?, 1 + (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'leases')), ?, ?, ?, 1, ?, ?, ?)"
        " RETURNING epoch", (int(at.wall * 1000), run, holder, ttl, at.wall, at.boot, at.ticks)).fetchone()
    db.executemany("INSERT OR REPLACE INTO locks VALUES (?, ?)", [(name, epoch) for name in wanted])
    return Lease(wanted, run, holder, epoch, ttl)


def check(db: sqlite3.Connection, lease: Lease) -> None:
    """Raises `LeaseLost` where a higher epoch exists for one of the lease's names."""
    if db.execute("SELECT 1 FROM leases WHERE epoch = ?", (lease.epoch,)).fetchone() is None:
        raise _lost(db, lease)


def renew(db: sqlite3.Connection, lease: Lease, at: Instant) -> None:
    """Starts its time anew; raises `LeaseLost`, also for a released one."""
    changed = db.execute("UPDATE leases SET renewed = ?, boot = ?, ticks = ? WHERE epoch = ? AND held",
                         (at.wall, at.boot, at.ticks, lease.epoch)).rowcount
    if not changed:
        raise _lost(db, lease)


def release(db: sqlite3.Connection, lease: Lease) -> None:
    """Gives the names back."""
    db.execute("UPDATE leases SET held = 0 WHERE epoch = ?", (lease.epoch,))


def holders(db: sqlite3.Connection) -> dict[str, str]:
    """Who holds a lease for each run."""
    rows = db.execute("SELECT run, holder FROM leases WHERE held ORDER BY epoch")
    return {run: holder for run, holder in rows.fetchall() if isinstance(holder, str)}  # nothing else if damaged


def held_for(db: sqlite3.Connection, run: str, at: Instant) -> Sequence[str]:
    """The holders of unexpired leases of ``run`` that are not known to be dead."""
    rows = db.execute("SELECT holder, ttl, renewed, boot, ticks FROM leases WHERE held AND run = ?", (run,))
    return [describe(holder) for holder, ttl, renewed, boot, ticks in rows.fetchall()
            if _age(at, renewed, boot, ticks) <= ttl and alive(holder) is not False]


def _age(at: Instant, renewed: float, boot: str, ticks: float) -> float:
    return at.ticks - ticks if boot and boot == at.boot else at.wall - renewed


def _lost(db: sqlite3.Connection, lease: Lease) -> LeaseLost:
    row = db.execute(
        "SELECT name, locks.epoch, run, holder FROM locks LEFT JOIN leases USING (epoch)"
        " WHERE locks.epoch > ? AND name IN (SELECT value FROM json_each(?)) ORDER BY locks.epoch DESC",
        (lease.epoch, json.dumps(lease.names))).fetchone()
    what = f"run {lease.run} no longer holds its locks (epoch {lease.epoch})"
    if row is None:
        return LeaseLost(f"{what}: they were released")
    name, epoch, run, holder = row
    who = f" by {describe(holder)} (run {run}, epoch {epoch})" if run is not None else ""
    return LeaseLost(f"{what}: {name} was taken over{who}; this process may write nothing more")
