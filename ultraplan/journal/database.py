"""Opening the SQLite file of a store, and telling people what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from ultraplan.journal import leases
from ultraplan.journal.base import JournalDamaged, JournalError

VERSION = 1
"""The version of the tables below; a later one reads every earlier one."""

BUSY = 30.0
"""Seconds to wait for another process's transaction."""

_TABLES = (
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL UNIQUE, created REAL NOT NULL,
        genesis BLOB NOT NULL, records INTEGER NOT NULL, head BLOB NOT NULL,
        status TEXT NOT NULL, changed REAL NOT NULL, seal BLOB NOT NULL) STRICT""",
    "CREATE TABLE bundles (run INTEGER PRIMARY KEY REFERENCES runs, bundle BLOB NOT NULL) STRICT",
    """CREATE TABLE records (
        run INTEGER NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL,
        payload BLOB NOT NULL, hash BLOB NOT NULL,
        PRIMARY KEY (run, seq)) STRICT, WITHOUT ROWID""",
    *leases.SCHEMA,
)

_BUSY_ADVICE = f"another process has kept it locked for {BUSY:.0f} s; find it (`fuser FILE`) and try again"
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing of this was written: free space, then `ultraplan resume`",
    sqlite3.SQLITE_IOERR: "the disk could not be read or written ({}); nothing of this was written:"
                          " look at the system's log, then `ultraplan resume`",
    sqlite3.SQLITE_READONLY: "it cannot be written to; check its owner, its mode and how its disk is mounted",
    sqlite3.SQLITE_PERM: "permission denied; check the owner and mode of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the owner and mode of the file and its folder",
    sqlite3.SQLITE_BUSY: _BUSY_ADVICE,
    sqlite3.SQLITE_LOCKED: _BUSY_ADVICE,
    sqlite3.SQLITE_NOLFS: "the file is larger than its file system allows",
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_FORMAT}

_SMALLEST = 512
"""Bytes of the smallest page, so of the smallest database (sqlite.org/fileformat2.html)."""

TROUBLE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the latter where damaged bytes are in the words of its message."""


def explain(path: Path, error: Exception) -> JournalError:
    """What ``error``, one of `TROUBLE`, means for the store at ``path``, and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _ADVICE:
        return JournalError(f"{path}: {_ADVICE[primary].format(error)}")
    if primary in _DAMAGE and (why := _unreadable(path)) is not None:
        return JournalError(f"{path}: {_ADVICE[sqlite3.SQLITE_IOERR].format(why)}")
    if isinstance(error, UnicodeDecodeError):
        what = "damaged (its tables are not as they were made)"
    elif primary is None or primary in _DAMAGE or isinstance(error, sqlite3.DataError):
        what = f"damaged ({error})"
    else:  # a missing table or column is damage as well: `connect` has made them all
        what = f"damaged: it does not hold what it should ({error})"
    return JournalDamaged(f"{path}: {what}; restore it from a copy, or move it away to start anew (then no run of it"
                          " can be gone on with: look at the hosts first)", 0)


def _unreadable(path: Path) -> str | None:
    """Why the disk does not give the store's files out; None: it does. SQLite calls what cannot be read corrupt
    (SQLITE_IOERR_CORRUPTFS), which would have people restore, or move away, a journal that is whole."""
    try:
        for name in (path, path.with_name(f"{path.name}-wal")):
            if name.exists():
                with name.open("rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass
    except OSError as error:
        return error.strerror
    return None


def prepare(path: Path) -> None:
    """Make the file (0600) and its folder (0700) where they are missing; an existing file is made private.

    Raises `JournalError`.
    """
    try:
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(handle)
            if found.st_mode & 0o077:
                os.fchmod(handle, 0o600)
            if 0 < found.st_size < _SMALLEST:  # SQLite would take it for a new one
                raise explain(path, sqlite3.DatabaseError(f"it ends after {found.st_size} bytes"))
        finally:
            os.close(handle)
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be opened: {error.strerror}") from None


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """A connection with the store's settings, its tables made; for one thread at a time.

    Raises `JournalError`.
    """
    try:
        connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    except TROUBLE as error:
        raise explain(path, error) from None
    try:
        if writes:
            _switch_to_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            _create(connection, path)
        else:
            connection.execute("PRAGMA query_only = ON")
    except TROUBLE as error:
        connection.close()
        raise explain(path, error) from None
    except JournalError:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # SQLite does not wait for others in this one statement, so several first openers have to.
    end = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _create(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone() is None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # another process may have been first
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT")
                connection.execute("INSERT INTO schema_version VALUES (?)", (VERSION,))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    if row is None or not isinstance(row[0], int):
        raise explain(path, sqlite3.DatabaseError("it does not say its version"))
    if row[0] > VERSION:
        raise JournalError(f"{path}: written by a later ultraplan (tables of version {row[0]}, this one knows"
                           f" {VERSION}); use that one")
