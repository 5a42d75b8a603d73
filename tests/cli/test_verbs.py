"""Each verb through the real program: what it prints, and the exit code that it documents."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import Program, interrupt, wait_for

WRITES = """
- id: config
  file: {path: "{{ host.vars.root }}/config", content: "one\\n", mode: "0640"}
- id: seen
  command: {argv: [grep, -q, one, "{{ host.vars.root }}/config"]}
  reads_only: true
"""
FAILS = WRITES + """
- id: broken
  command: {run: "echo it broke >&2; exit 7"}
  reads_only: true
"""


def test_a_plan_is_previewed_applied_and_nothing_is_left_to_do(up: Program) -> None:
    plan, config = up.plan(WRITES), up.root / "localhost" / "config"
    assert "1 step" not in up("validate", plan).stdout
    assert "2 steps, 1 host, 1 batch" in up("validate", plan).stdout
    assert "+one" in up("plan", plan).stdout
    up("plan", plan, "--detailed-exitcode", code=2)
    assert not config.exists()
    assert "succeeded: 1 changed, 1 checked" in up("apply", plan, "--yes").stdout
    assert config.read_text() == "one\n"
    up("plan", plan, "--detailed-exitcode", code=0)
    assert "1 unchanged" in up("apply", plan, "--yes").stdout


def test_a_failure_goes_back_and_says_why_and_what_was_undone(up: Program) -> None:
    done = up("apply", up.plan(FAILS), "--yes", code=1)
    assert not (up.root / "localhost" / "config").exists()
    assert "rolled back" in done.stdout
    assert "it broke" in done.stdout
    assert "undone on localhost: config" in done.stdout
    assert f"ultraplan runs show {up.last()}" in done.stdout


def test_without_a_terminal_apply_asks_for_yes(up: Program) -> None:
    assert "--yes" in up("apply", up.plan(WRITES), code=2).stderr


def test_a_saved_plan_is_applied_exactly_once_and_is_stale_when_something_moved(up: Program) -> None:
    plan = up.plan(WRITES)
    up("plan", plan, "-o", "saved.plan")
    assert (up.folder / "saved.plan").stat().st_mode & 0o777 == 0o600
    up("plan", plan, "-o", "later.plan")
    up("apply", "saved.plan")
    assert "applied before" in up("apply", "saved.plan", code=3).stderr
    assert "config on localhost" in up("apply", "later.plan", code=3).stderr


def test_a_finished_run_is_rolled_back_once(up: Program) -> None:
    up("apply", up.plan(WRITES), "--yes")
    up("rollback", "--yes")
    assert not (up.root / "localhost" / "config").exists()
    assert "rolled back already" in up("rollback", "last", "--yes", code=2).stderr


def test_a_way_back_that_is_blocked_ends_as_incomplete_and_can_be_tried_again(up: Program) -> None:
    up("apply", up.plan(WRITES), "--yes")
    config = up.root / "localhost" / "config"
    config.write_text("somebody else\n")
    done = up("rollback", "--yes", code=4)
    assert "left as it is: config on localhost" in done.stdout
    assert f"ultraplan resume {up.last()}" in done.stdout
    config.write_text("one\n")
    config.chmod(0o640)
    up("resume", code=1)
    assert not config.exists()


def test_a_run_past_the_point_of_no_return_pauses(up: Program) -> None:
    plan = up.plan("""
- id: gone
  command: {run: "true"}
  irreversible: mail was sent
- id: broken
  command: {run: "exit 1"}
  reads_only: true
""")
    assert "no way back" in up("plan", plan).stdout
    assert "there is no way back" in up("apply", plan, "--yes", code=5).stdout


def test_hosts_that_another_run_holds_are_locked(up: Program) -> None:
    slow = up.plan('- command: {run: "touch \'{{ host.vars.root }}/began\'; sleep 20"}\n  id: slow\n'
                   "  reads_only: true", "slow.yaml")
    process = up.start("apply", slow, "--yes")
    try:
        wait_for(up.root / "localhost" / "began")
        told = up("apply", up.plan(WRITES), "--yes", code=6)
        assert "locked by" in told.stderr
        assert "ultraplan runs show" in told.stderr
        assert "under way, by" in up("runs", "show").stdout
        assert "ultraplan runs follow" in up("runs", "show").stdout
        assert "is open" in up("runs", "prune", "last", code=2).stderr
    finally:
        interrupt(process)
        interrupt(process)
        process.communicate(timeout=30)


def test_json_of_every_verb_is_one_versioned_document(two: Program) -> None:
    plan = two.plan(WRITES)
    documents = {
        "ultraplan/validation": ("validate", plan), "ultraplan/plan": ("plan", plan),
        "ultraplan/graph": ("graph", plan), "ultraplan/steps": ("steps",), "ultraplan/runs": ("runs",),
        "ultraplan/ping": ("inventory", "ping"), "ultraplan/hosts": ("inventory", "list", "--hosts"),
        "ultraplan/init": ("init", "new"),
    }
    for name, arguments in documents.items():
        document = two.json(*arguments)
        assert (document["format"], document["version"]) == (name, 1)
    *events, result = two.ndjson("apply", plan, "--yes")
    assert {event["format"] for event in events} == {"ultraplan/event"}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (result["format"], result["status"], result["counts"]["changed"]) == ("ultraplan/result", "succeeded", 2)
    assert two.json("runs", "show")["format"] == "ultraplan/run"
    assert two.json("diff", "last", "last")["different"] is False


def test_errors_are_json_too(up: Program) -> None:
    assert up.json("validate", "none.yaml", code=2)["kind"] == "source"
    assert up.json("resume", "1999", code=1)["kind"] == "state"
    wrong = up.plan("- fiel: {path: /x}\n  id: a")
    (first, *_) = up.json("validate", wrong, code=2)["diagnostics"]
    assert first["at"].startswith("plan.yaml:4:")
    assert "file" in first["hint"]


def test_the_graph_is_drawn_three_ways(up: Program) -> None:
    plan = up.plan(FAILS)
    assert "↺ config" in up("graph", plan).stdout
    assert up("graph", plan, "--format", "dot").stdout.startswith("digraph")
    assert up("graph", plan, "--format", "mermaid").stdout.startswith("flowchart")


def test_inventory_lists_draws_and_pings(two: Program) -> None:
    assert two("inventory", "list", "--hosts", "all:!a").stdout == "b\n"
    listing = json.loads(two("inventory", "list", "a").stdout)
    assert set(listing["_meta"]["hostvars"]) == {"a"}
    assert "--a" in two("inventory", "graph").stdout
    assert "2 of 2 answer" in two("inventory", "ping").stdout
    two.write("lost.yaml", "all: {hosts: {gone: {ansible_host: 127.0.0.1, ansible_port: 1}}}")
    told = two.json("inventory", "ping", "-i", "inventory.yaml", "-i", "lost.yaml", code=1)
    assert {row["host"]: row["reachable"] for row in told["hosts"]} == {"a": True, "b": True, "gone": False}
    assert "nowhere" in two("inventory", "ping", "nowhere", code=2).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh", "fish"])
def test_completion_scripts_know_the_verbs(up: Program, shell: str) -> None:
    script = up("completion", shell).stdout
    assert "rollback" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_bash_completes_verbs_runs_and_options(up: Program) -> None:
    up("apply", up.plan(WRITES), "--yes")
    script = up.write("completion.bash", up("completion", "bash").stdout)
    program = up.write("bin/ultraplan", f"#!/bin/sh\nexec {' '.join(up.command())} \"$@\"\n")
    program.chmod(0o755)

    def complete(*words: str) -> set[str]:
        line = f"""source {script}; COMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words)}
            COMP_LINE='{' '.join(words)} '; COMP_POINT=${{#COMP_LINE}}
            _shtab_ultraplan; printf '%s\\n' "${{COMPREPLY[@]}}" """
        environment = up.environment | {"PATH": f"{program.parent}:{up.environment['PATH']}"}
        done = subprocess.run(["bash", "-c", line], env=environment, cwd=up.folder, capture_output=True, text=True,
                              check=False)
        return set(done.stdout.split())

    assert {"plan", "apply", "rollback"} <= complete("ultraplan")
    assert up.last() in complete("ultraplan", "rollback")
    assert "plan.yaml" in complete("ultraplan", "plan")


def test_a_repository_is_begun_and_its_own_plan_works(up: Program, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "README.md").write_text("mine\n")
    told = up.json("init", "new")
    assert told["kept"] == ["README.md"]
    assert (tmp_path / "new" / "README.md").read_text() == "mine\n"
    assert ".gitignore" in told["made"]
    root = tmp_path / "made"
    # The second source only says where this host keeps its state in tests.
    plan = ["new/plans/hello.yaml", "-i", "new/inventories/local.yaml", "-i", "inventory.yaml", "-e", f"root={root}"]
    up("validate", *plan)
    up("plan", *plan)
    up("apply", *plan, "--yes")
    assert (root / "greeting.txt").read_text() == "Hello world, from localhost.\n"
    up("rollback", "--yes")
    assert not root.exists()
    up("apply", *plan, "-e", "broken=true", "--yes", code=1)
    assert not root.exists()
    schema = json.loads((tmp_path / "new" / "schemas" / "plan.schema.json").read_text())
    assert "plan" in schema["properties"]


def test_two_saved_plans_are_compared(up: Program) -> None:
    plan = up.plan(WRITES)
    up("plan", plan, "-o", "one.plan")
    up("plan", plan, "-o", "same.plan")
    assert up("diff", "one.plan", "same.plan", "--detailed-exitcode").stdout == "no difference\n"
    up.plan(WRITES.replace("one", "two") + '- id: more\n  command: {run: "true"}\n  irreversible: it is sent\n')
    up("plan", plan, "-o", "two.plan")
    told = up("diff", "one.plan", "two.plan", "--detailed-exitcode", code=2).stdout
    assert "-one" in told
    assert "+two" in told
    assert "+ more on localhost" in told
    up("diff", "one.plan", "last", code=2)


def test_two_runs_are_compared(up: Program) -> None:
    up("apply", up.plan(WRITES), "--yes")
    good = up.last()
    up("apply", up.plan(FAILS), "--yes", code=1)
    told = up("diff", good, "last").stdout
    assert "status: succeeded → rolled back" in told
    assert "+ broken on localhost" in told
    assert "status: changed → unchanged" in told


def test_a_mistyped_verb_gets_a_suggestion(up: Program) -> None:
    assert "did you mean 'apply'" in up("aplly", code=2).stderr
    assert "did you mean 'directory'" in up("steps", "direktory", code=2).stderr
