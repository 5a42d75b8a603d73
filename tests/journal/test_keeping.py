"""Journals are kept: only `ultraplan runs prune` ever deletes one, whatever else is done with the state."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.journal.real import INPUTS, STEPS, told

_NO_DELETING = "".join(
    f"CREATE TRIGGER keep_{table}_{verb.split()[0]} BEFORE {verb} ON {table} BEGIN SELECT raise(ABORT, 'kept'); END;"
    for table in ("runs", "records", "bundles") for verb in ("DELETE", "UPDATE")
    if (table, verb) != ("runs", "UPDATE"))  # a run's row holds its status


def content(journal: Path) -> Mapping[str, list[bytes]]:
    """Every run's records."""
    with sqlite3.connect(journal) as db:
        rows = db.execute("SELECT runs.run, payload FROM runs JOIN records ON records.run = number ORDER BY 1, seq")
        found: dict[str, list[bytes]] = {}
        for run, payload in rows:
            found.setdefault(run, []).append(payload)
        return found


def test_nothing_but_prune_deletes_or_changes_a_record(tmp_path: Path) -> None:
    up = Program(tmp_path, tmp_path / "bytecode", ("a",))
    plan = up.plan(STEPS, head=INPUTS)
    up("apply", plan, "--yes")
    journal = up.state / "journal.db"
    with sqlite3.connect(journal) as db:
        db.executescript(_NO_DELETING)
    before = content(journal)
    first, = before
    up("rollback", "last", "--yes")
    up("rollback", "last", "--yes", code=2)
    up("resume", code=2)
    up("apply", plan, "--yes", code=-9, env={"ULTRAPLAN_FAULT": "after-intent:2"})
    second = up.last()
    up("apply", plan, "--yes", code=6)
    up("resolve", second, "count@a", "--as", "done", code=2)
    up("runs", "prune", second, code=2)
    up("runs", "prune", "--older-than", "1d")
    up("runs", "show", second)
    up("diff", first, second, code=None)
    up("resume", second)
    up("apply", plan, "--yes", "-e", "code=3", code=None)
    after = content(journal)
    assert len(after) >= 2
    assert {run: records[:len(before.get(run, []))] for run, records in after.items() if run in before} == before

    # Why the test can fail: the very thing that prune does is what the triggers forbid.
    said = up("runs", "prune", first, code=1).stderr
    assert "kept" in said
    assert content(journal) == after
    with sqlite3.connect(journal) as db:
        for trigger, in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
    up("runs", "prune", first)
    assert content(journal) == {run: records for run, records in after.items() if run != first}


@pytest.mark.parametrize(("damage", "by_age"), [
    ("UPDATE records SET payload = x'00' WHERE seq = 3", True),  # it did end, and there is nothing left to do
    ("UPDATE bundles SET bundle = x'00'", False),
    ("UPDATE runs SET status = 'succeeded', seal = x'00'", False)])
def test_a_damaged_run_is_kept_until_a_person_says_otherwise(damage: str, by_age: bool, tmp_path: Path) -> None:
    up = Program(tmp_path, tmp_path / "bytecode", ("a",))
    up("apply", up.plan(STEPS, head=INPUTS), "--yes")
    run = up.last()
    with sqlite3.connect(up.state / "journal.db") as db:
        db.execute(damage)
    time.sleep(0.01)
    assert "damaged" in told(up.state, "rollback", run, "--yes").out
    assert told(up.state, "resume", run).code in (1, 2)
    assert (up.root / "a" / "config").exists(), "nothing is undone from a journal that cannot be trusted"
    told(up.state, "runs", "prune", "--older-than", "0s")
    assert (told(up.state, "runs").document["runs"] == []) == by_age
    if not by_age:
        forced = told(up.state, "runs", "prune", run, "--force")
        assert told(up.state, "runs").document["runs"] == [], forced
