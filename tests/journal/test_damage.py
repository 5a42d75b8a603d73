"""A journal file that is no longer what was written is noticed; what is read from it is true or an error."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ultraplan.journal.base import JournalDamaged, JournalError, RunInfo
from ultraplan.journal.events import Noted, Record, RunClosed, RunOpened
from ultraplan.journal.holder import holder
from ultraplan.journal.sqlite import SQLiteStore

Written = tuple[Path, dict[str, list[Record]], list[RunInfo]]
_COUNT = 300
_BUNDLE = b"all that is needed" * 3000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    store = SQLiteStore(path)
    for run in ("r1", "r2"):
        lease = store.acquire([f"host:{run}"], run, holder(), 30)
        store.create(run, _BUNDLE, lease)
        opened = RunOpened(plan="p", digests={}, epoch=lease.epoch, hosts=["h"], version="1")
        store.append(run, [opened], lease)
        for n in range(_COUNT - 2):
            store.append(run, [Noted(text=f"{run} {n} " + "x" * (n % 90))], lease)
        store.append(run, [RunClosed(status="succeeded")], lease)
        store.release(lease)
    records, runs = {run: list(store.read(run)) for run in ("r1", "r2")}, store.runs()
    store.close()
    return path, records, runs


@pytest.fixture
def copy(written: Written, tmp_path: Path) -> Path:
    return Path(shutil.copy(written[0], tmp_path / "journal.sqlite"))


def look(path: Path, written: Written) -> str:
    """Read all there is; every answer must be what was written, or an error that says so."""
    _, records, runs = written
    try:
        store = SQLiteStore(path)
    except JournalError:
        return "not opened"
    outcome = "whole"
    for run in ("r1", "r2"):
        found: list[Record] = []
        try:
            for record in store.read(run):
                found.append(record)
            assert found == records[run]
        except JournalDamaged as error:
            outcome = "damaged"
            assert error.good in (0, len(found))
        except JournalError:
            outcome = "error"
        assert found == records[run][:len(found)]
    try:
        assert store.bundle("r1") == _BUNDLE
    except (JournalError, KeyError):
        outcome = "damaged"
    try:
        for info in store.runs():
            assert info.status == "damaged" or info in runs
    except JournalError:
        outcome = "damaged"
    try:
        store.append("r2", [Noted(text="x")])
        store.acquire(["x"], "r9", holder(), 1)
    except JournalError:
        outcome = "damaged"
    try:
        store.close()
    except JournalError:
        outcome = "damaged"
    return outcome


def test_an_undamaged_copy_is_whole(copy: Path, written: Written) -> None:
    assert look(copy, written) == "whole"


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_never_read_as_something_else(
    seed: int, copy: Path, written: Written,
) -> None:
    chance = random.Random(seed)
    raw = bytearray(copy.read_bytes())
    for _ in range(chance.choice((1, 1, 8, 64))):
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    copy.write_bytes(raw)
    look(copy, written)


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.02, 0.3, 0.5, 0.8, 0.99, 0.9999])
def test_a_truncated_file_is_never_whole(
    part: float, copy: Path, written: Written,
) -> None:
    with copy.open("r+b") as file:
        file.truncate(int(copy.stat().st_size * part))
    if part == 0.0:  # an empty file is a new store: there are no runs in it
        store = SQLiteStore(copy)
        assert store.runs() == []
        with pytest.raises(KeyError):
            store.bundle("r1")
        store.close()
    else:
        assert look(copy, written) != "whole"


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"#!/bin/sh\necho hello\n" * 100)
    with pytest.raises(JournalDamaged, match=r"journal\.sqlite: damaged"):
        SQLiteStore(path)
    assert path.read_bytes().startswith(b"#!/bin/sh")


_EDITS = {
    "a changed payload": (
        "UPDATE records SET payload = CAST(replace(CAST(payload AS TEXT), 'r1 5 ', 'r1 6 ') AS BLOB) WHERE seq = 7", 6),
    "a changed time": ("UPDATE records SET time = time + 1 WHERE seq = 10", 9),
    "a record taken out": ("DELETE FROM records WHERE seq = 20", 19),
    "records that changed places": (
        "UPDATE records SET seq = -seq WHERE seq IN (30, 31);"
        "UPDATE records SET seq = 61 + seq WHERE seq < 0", 29),
    "the last record taken off": (f"DELETE FROM records WHERE seq = {_COUNT}", _COUNT - 1),
    "the end moved back": ("DELETE FROM records WHERE seq > 50; UPDATE runs SET records = 50, "
                           "head = (SELECT hash FROM records WHERE run = runs.number AND seq = 50)", 50),
    "a payload that is no event": ("UPDATE records SET payload = x'00ff' WHERE seq = 2", 1),
    "a record of another run": (
        "DELETE FROM records WHERE run = 1 AND seq = 4;"
        "INSERT INTO records SELECT 1, seq, time, payload, hash FROM records WHERE run = 2 AND seq = 4", 3),
    "a status that was not reached": ("UPDATE runs SET status = 'rolled_back'", _COUNT),
}


@pytest.mark.parametrize("name", _EDITS)
def test_an_edit_is_found_where_it_is(
    name: str, copy: Path, written: Written,
) -> None:
    statements, good = _EDITS[name]
    db = sqlite3.connect(copy)
    db.executescript(statements)
    db.close()
    store = SQLiteStore(copy)
    got: list[Record] = []
    with pytest.raises(JournalDamaged, match="r1 is damaged after record") as damage:
        for record in store.read("r1"):
            got.append(record)
    assert damage.value.good == good
    assert got == written[1]["r1"][:good]
    store.close()


@pytest.mark.parametrize("ask", [
    lambda store: store.append("r1", [Noted(text="x")]), lambda store: store.bundle("r1"),
], ids=["append", "bundle"])
def test_nothing_is_built_on_a_damaged_run(ask: Callable[[SQLiteStore], object], copy: Path) -> None:
    db = sqlite3.connect(copy)
    db.executescript("UPDATE runs SET status = 'open' WHERE number = 1;"
                     "UPDATE bundles SET bundle = x'00' WHERE run = 1")
    db.close()
    store = SQLiteStore(copy)
    with pytest.raises(JournalDamaged):
        ask(store)
    assert [info.status for info in store.runs()] == ["succeeded", "damaged"]
    store.close()
