"""`ultraplan runs`: a run explained to somebody who was not there."""

from __future__ import annotations

import json
import sqlite3
import time

from tests.cli.program import Program, interrupt, wait_for
from tests.cli.terminal import Terminal

FINE = '- id: config\n  file: {path: "{{ host.vars.root }}/config", content: one}\n'
BAD = FINE + '- id: broken\n  command: {run: "test {{ host.name }} = a"}\n  reads_only: true\n'


def test_nothing_ran_yet(up: Program) -> None:
    assert up("runs").stdout == "no runs yet\n"
    assert "no runs yet" in up("runs", "show", code=1).stderr


def test_the_list_has_the_newest_first(two: Program) -> None:
    two("apply", two.plan(FINE), "--yes")
    two("apply", two.plan(BAD), "--yes", code=1)
    rows = two("runs").stdout.splitlines()
    assert rows[0].split()[:2] == ["RUN", "PLAN"]
    assert rows[1].endswith("rolled back")
    assert rows[2].endswith("succeeded")


def test_a_narrow_terminal_cuts_anything_but_the_ids(two: Program) -> None:
    two("apply", two.plan(FINE), "--yes")
    with Terminal(two, "runs", columns=56) as terminal:
        assert terminal.finish() == 0
        assert two.last() in terminal.plain
        assert "…" in terminal.plain
        assert max(map(len, terminal.plain.splitlines())) <= 56


def test_options_hold_before_and_after_the_subcommand(up: Program) -> None:
    assert json.loads(up("runs", "--json", "list").stdout) == json.loads(up("runs", "list", "--json").stdout)


def test_a_failed_run_is_explained(two: Program) -> None:
    two("apply", two.plan(BAD), "--yes", code=1)
    told = two("runs", "show").stdout
    assert "on 2 hosts: a, b" in told
    assert "cause: broken on b" in told
    assert "broken on b: failed" in told
    assert "undone on a: config" in told
    assert "what to type next" in told
    document = two.json("runs", "show", "last")
    assert document["undone"] == {"a": ["config"], "b": ["config"]}
    assert document["timeline"][0]["text"] == "run opened: tried on 2 hosts"


def test_a_killed_run_is_told_as_such_and_says_how_to_go_on(up: Program) -> None:
    began = up.root / "localhost" / "began"
    plan = up.plan(f'{FINE}- id: slow\n  command: {{run: "touch {began}; sleep 3"}}\n'
                   '  undo: {command: {run: "true"}}')
    process = up.start("apply", plan, "--yes")
    wait_for(began)
    process.kill()
    process.communicate(timeout=30)
    run = up.last()
    told = up("runs", "show", run).stdout
    assert "is gone: killed or crashed" in told
    assert "under way: slow on localhost" in told
    assert f"ultraplan resume {run}" in told
    assert f"ultraplan rollback {run}" in told
    assert "nobody is at this run any more" in up("runs", "follow", code=1).stdout
    assert "is gone" in up("runs").stdout
    up("resume")
    assert "taken over: resume" in up("runs", "show").stdout


def test_a_run_is_followed_from_another_terminal(up: Program) -> None:
    began = up.root / "localhost" / "began"
    plan = up.plan(f'- id: slow\n  command: {{run: "touch {began}; sleep 1; exit 4"}}\n  reads_only: true')
    process = up.start("apply", plan, "--yes")
    wait_for(began)
    told = up("runs", "follow", code=1).stdout
    assert "slow" in told
    assert told.splitlines()[-1].endswith("closed: rolled back")
    process.communicate(timeout=30)
    lines = up.ndjson("runs", "follow", code=1)
    assert lines[-1]["event"]["type"] == "run_closed"


def test_an_interrupted_run_is_kept_when_old_ones_are_pruned(up: Program) -> None:
    up("apply", up.plan(FINE), "--yes")
    began = up.root / "localhost" / "began"
    plan = up.plan(f'- id: slow\n  command: {{run: "touch {began}; sleep 1"}}\n  reads_only: true\n'
                   '- id: after\n  file: {path: "{{ host.vars.root }}/after", content: x}')
    process = up.start("apply", plan, "--yes")
    wait_for(began)
    interrupt(process)
    process.communicate(timeout=30)
    time.sleep(0.01)
    told = up.json("runs", "prune", "--older-than", "0s")
    assert len(told["removed"]) == 1
    assert told["kept"] == [up.last()]
    assert "30d" in up("runs", "prune", code=2).stderr
    assert "duration" in up("runs", "prune", "--older-than", "soon", code=2).stderr
    up("runs", "prune", "last")
    assert up("runs").stdout == "no runs yet\n"


def test_a_damaged_journal_is_told_and_not_trusted(up: Program) -> None:
    up("apply", up.plan(FINE), "--yes")
    with sqlite3.connect(up.state / "journal.db") as db:
        db.execute("UPDATE records SET payload = CAST(replace(payload, 'config', 'konfig') AS BLOB) WHERE seq = 2")
    told = up("runs", "show", code=1).stdout
    assert "damaged after record 1" in told
    assert "only its first 1 record can be trusted" in told
    assert "succeeded" not in told
