"""`ultraplan rollback` shows what it would do before it does it, and what it cannot do."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from tests.cli.program import Program, wait_for
from tests.cli.terminal import Terminal

STEPS = """
- id: folder
  directory: {path: "{{ host.vars.root }}/app"}
- id: config
  file: {path: "{{ host.vars.root }}/app/config", content: "one\\n", mode: "0640"}
- id: seen
  command: {run: "true"}
  reads_only: true
- id: mark
  command: {run: "echo did >>'{{ host.vars.root }}/log'"}
  undo: {command: {run: "echo undid >>'{{ host.vars.root }}/log'"}}
"""


def _tree(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in sorted(root.rglob("*"))}


def _undos(told: dict[str, Any]) -> list[str]:
    return [f"{one['step']}@{one['host']} {one['expected']}" for one in told["undos"]]


def test_a_dry_run_tells_the_undos_in_their_order_and_touches_nothing(two: Program) -> None:
    two("apply", two.plan(STEPS), "--yes")
    before = {key: value for key, value in _tree(two.folder).items() if not key.startswith("state")}
    told = two("rollback", "--dry-run").stdout
    assert {key: value for key, value in _tree(two.folder).items() if not key.startswith("state")} == before
    assert f"roll back run {two.last()} of tried on 2 hosts: a, b" in told
    assert "by root; last change" in told
    assert "succeeded" in told
    order = [told.index(f"↺ {step}") for step in ("mark", "config", "folder")]
    assert order == sorted(order)
    assert "seen" not in told  # it changed nothing
    assert "undo: command (run echo undid >>'" in told[told.index("mark (command) on a"):]
    assert "config (file) on a, b: removed again" in told
    assert "kind: file → absent" in told
    assert "uid" not in told
    assert "rollback: 6 to undo, on 2 hosts" in told


def test_the_dry_run_for_programs_is_the_order_that_the_rollback_keeps(two: Program) -> None:
    two("apply", two.plan(STEPS), "--yes")
    told = two.json("rollback", "--dry-run")
    assert (told["format"], told["version"], told["plan"], told["status"]) == (
        "ultraplan/rollback", 1, "tried", "succeeded")
    assert told["counts"] == {"undone": 6}
    *events, result = two.ndjson("rollback", "--yes")
    done = [(one["event"]["node"], one["event"]["host"]) for one in events
            if one["event"]["type"] == "verified" and one["event"]["direction"] == "reverse"]
    foretold = [(one["step"], one["host"]) for one in told["undos"]]
    # Between hosts a turn is taken by both at once: which of them is through first, nobody knows.
    turns = [[sorted(keys[index:index + 2]) for index in (0, 2, 4)] for keys in (foretold, done)]
    assert turns[0] == turns[1] == [[(step, "a"), (step, "b")] for step in ("mark", "config", "folder")]
    assert result["status"] == "rolled_back"


def test_without_a_terminal_it_wants_yes_and_on_one_it_asks(up: Program) -> None:
    up("apply", up.plan(STEPS), "--yes")
    assert "--dry-run shows" in up("rollback", code=2).stderr
    with Terminal(up, "rollback") as terminal:
        terminal.wait_for("Only 'yes' goes on")
        terminal.type("y\r")
        assert terminal.finish() == 1
        assert "nothing was touched" in terminal.plain
    assert (up.root / "localhost" / "app" / "config").exists()
    with Terminal(up, "rollback") as terminal:
        terminal.wait_for("Only 'yes' goes on")
        terminal.type("yes\r")
        assert terminal.finish() == 0
    assert not (up.root / "localhost" / "app").exists()


def test_what_somebody_changed_since_is_told_beforehand_as_a_table(two: Program) -> None:
    two("apply", two.plan(STEPS), "--yes")
    config = two.root / "b" / "app" / "config"
    config.write_text("somebody else's\n")
    told = two("rollback", "--dry-run").stdout
    stays = told[told.index("what would stay as it is"):]
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(config.stat().st_mtime))
    assert "config (file) on b: changed since the run left it: " in stays
    assert f"; written {when} " in stays
    assert "size 4 → 16" in stays
    table = [line.split() for line in stays.splitlines()]
    assert ["before", "the", "run", "left", "by", "the", "run", "now"] in table
    assert ["size", "absent", "4", "16"] in table
    assert ["written", "-", "-", *when.split()] in table
    assert "folder (directory) on b: left alone, because config after it could not be undone" in stays
    assert "rollback: 4 to undo, 1 changed since, 1 left alone, on 2 hosts" in told
    found = _undos(two.json("rollback", "--dry-run"))
    assert "config@b conflict" in found
    assert "config@a undone" in found
    two("rollback", "--yes", code=4)
    assert config.read_text() == "somebody else's\n"
    assert not (two.root / "a" / "app").exists()


def test_two_steps_about_one_file_are_no_conflict(up: Program) -> None:
    path = up.root / "localhost" / "list"
    path.write_text("zero\n")
    up("apply", up.plan(f"""
- {{id: one, lineinfile: {{path: "{path}", line: one}}}}
- {{id: two, lineinfile: {{path: "{path}", line: two}}}}
- {{id: whole, file: {{path: "{path}", content: whole}}}}
"""), "--yes")
    told = up.json("rollback", "--dry-run")
    assert _undos(told) == ["whole@localhost undone", "two@localhost undone", "one@localhost undone"]
    up("rollback", "--yes")
    assert path.read_text() == "zero\n"


def test_pre_images_that_somebody_removed_are_missed_by_name(up: Program) -> None:
    config = up.root / "localhost" / "config"
    config.write_text("old\n")
    up("apply", up.plan(f'- {{id: config, file: {{path: "{config}", content: new}}}}'), "--yes")
    shutil.rmtree(up.folder / "host-0")
    told = up("rollback", "--dry-run").stdout
    assert "its pre-image is gone: localhost keeps nothing any more of what this run secured" in told
    assert _undos(up.json("rollback", "--dry-run")) == ["config@localhost pre-image_gone"]
    done = up("rollback", "--yes", code=4).stdout
    assert "its pre-image is gone" in done
    assert "next try in" not in done  # trying again cannot help
    assert config.read_text() == "new"


def test_what_is_irreversible_and_what_lies_behind_it_is_told_beforehand(up: Program) -> None:
    up("apply", up.plan(f"""
- {{id: before, file: {{path: "{up.root}/before", content: x}}}}
- {{id: mail, command: {{run: "true"}}, irreversible: mail was sent}}
- {{id: later, file: {{path: "{up.root}/later", content: x}}}}
"""), "--yes")
    told = up.json("rollback", "--dry-run")
    assert _undos(told) == ["later@localhost undone", "mail@localhost irreversible", "before@localhost left_alone"]
    text = up("rollback", "--dry-run").stdout
    assert "mail (command) on localhost: irreversible: mail was sent" in text
    assert "before (file) on localhost: left alone, because mail after it could not be undone" in text


def test_of_what_was_under_way_when_the_run_was_killed_only_its_host_knows(up: Program) -> None:
    began = up.root / "localhost" / "began"
    process = up.start("apply", up.plan(f"""
- {{id: first, file: {{path: "{up.root}/first", content: x}}}}
- {{id: slow, command: {{run: "touch {began}; sleep 2"}}, undo: {{command: {{run: "rm -f {began}"}}}}}}
"""), "--yes")
    wait_for(began)
    process.kill()
    process.communicate(timeout=30)
    assert _undos(up.json("rollback", "--dry-run")) == [
        "slow@localhost known_only_then", "first@localhost known_only_then"]  # they were sent together
    assert "whether it began, its host tells then" in up("rollback", "--dry-run").stdout
    time.sleep(2.2)  # it ends by itself; a rollback would end it, and then nobody knew whether it was done
    up("rollback", "--yes")
    assert not (up.root / "first").exists()
    assert not began.exists()
    assert "rolled back already" in up("rollback", "--dry-run", code=2).stderr


def test_what_a_person_has_to_speak_of_first_is_told_beforehand(up: Program) -> None:
    began = up.root / "localhost" / "began"
    up("apply", up.plan(f"""
- {{id: first, file: {{path: "{up.root}/first", content: x}}}}
- {{id: odd, command: {{run: "true"}}, undo: {{command: {{run: "touch {began}; sleep 2"}}}}}}
"""), "--yes")
    process = up.start("rollback", "--yes")
    wait_for(began)
    process.kill()
    process.communicate(timeout=30)
    time.sleep(2.2)
    [receipt] = [path for path in (up.folder / "host-0").glob("runs/*/*.r1") if "session" in path.read_text()]
    receipt.write_text("".join(line for line in receipt.read_text().splitlines(keepends=True) if "exit" not in line))
    up("rollback", "--yes", code=4)  # as after a power loss
    assert _undos(up.json("rollback", "--dry-run")) == ["first@localhost left_alone", "odd@localhost in_doubt"]
    up("resolve", "last", "odd@localhost", "--as", "undone")
    assert _undos(up.json("rollback", "--dry-run")) == ["first@localhost undone"]
    up("rollback", "--yes")
    assert not (up.root / "first").exists()


def test_what_is_not_to_be_logged_is_not_shown_either(up: Program) -> None:
    config = up.root / "localhost" / "config"
    up("apply", up.plan(f"""
- {{id: config, file: {{path: "{config}", content: "one"}}, no_log: true}}
- {{id: mark, command: {{run: "true"}}, undo: {{command: {{run: "echo hidden"}}}}, no_log: true}}
"""), "--yes")
    config.write_text("other")
    told = up("rollback", "--dry-run").stdout
    assert "config (file) on localhost: changed since the run left it [unless" in told
    assert "hidden" not in told and "sha256" not in told and "size" not in told
    assert "sha256" not in up("rollback", "--yes", code=4).stdout
