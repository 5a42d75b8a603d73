"""Ctrl-C stops in order: what is under way ends, nothing new begins; a second one stops at once."""

from __future__ import annotations

import signal
import time

from tests.cli.program import Program, interrupt, wait_for
from tests.cli.terminal import Terminal

SLOW = """
- id: slow
  command: {{run: "echo x >>'{root}/count'; touch '{root}/began'; sleep {seconds}"}}
  undo: {{command: {{run: "rm '{root}/count'"}}}}
- id: after
  file: {{path: "{root}/after", content: x}}
"""


def _slow(up: Program, seconds: float) -> str:
    return up.plan(SLOW.format(root=up.root / "localhost", seconds=seconds))


def test_ctrl_c_lets_the_step_end_and_resume_goes_on(up: Program) -> None:
    process = up.start("apply", _slow(up, 1.5), "--yes")
    home = up.root / "localhost"
    wait_for(home / "began")
    interrupt(process)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert "stopping: what is under way ends" in out
    assert "interrupted: 1 changed" in out
    assert f"ultraplan resume {up.last()}" in out
    assert f"ultraplan rollback {up.last()}" in out
    assert not (home / "after").exists()
    up("resume")
    assert (home / "after").exists()
    assert (home / "count").read_text() == "x\n"


def test_sigterm_is_as_orderly(up: Program) -> None:
    process = up.start("apply", _slow(up, 1), "--yes")
    wait_for(up.root / "localhost" / "began")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    up("rollback", "--yes")
    assert not (up.root / "localhost" / "count").exists()


def test_a_second_ctrl_c_stops_at_once_and_nothing_is_done_twice(up: Program) -> None:
    process = up.start("apply", _slow(up, 4), "--yes")
    wait_for(up.root / "localhost" / "began")
    interrupt(process)
    time.sleep(0.3)
    before = time.monotonic()
    interrupt(process)
    process.communicate(timeout=30)
    assert time.monotonic() - before < 2
    assert process.returncode == 130
    up("resume")
    assert (up.root / "localhost" / "count").read_text() == "x\n"


def test_ctrl_c_before_anything_began_touches_nothing(up: Program) -> None:
    plan = up.plan('- id: sent\n  command: {run: "sleep 30"}\n  irreversible: it is sent')
    up.write("slow.sh", "#!/bin/sh\nsleep 30\n").chmod(0o755)
    process = up.start("apply", plan, "--yes", "-i", "slow.sh")
    time.sleep(1.5)
    interrupt(process)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


WAY_BACK = """
- id: first
  file: {{path: "{root}/first", content: x}}
- id: slow
  command: {{run: "echo did >>'{root}/log'"}}
  undo: {{command: {{run: "echo undid >>'{root}/log'; touch '{root}/undoing'; sleep {seconds}"}}}}
"""


def _slow_to_undo(up: Program, seconds: float) -> None:
    up("apply", up.plan(WAY_BACK.format(root=up.root / "localhost", seconds=seconds)), "--yes")


def test_ctrl_c_in_a_rollback_lets_the_undo_end_and_only_the_way_back_is_left(up: Program) -> None:
    _slow_to_undo(up, 1.5)
    home = up.root / "localhost"
    process = up.start("rollback", "--yes")
    wait_for(home / "undoing")
    interrupt(process)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "stopping: what is under way ends" in out
    assert f"ultraplan resume {up.last()}   (goes on with the rollback)" in out
    assert f"ultraplan rollback {up.last()}" not in out  # that is what it is doing
    assert (home / "first").exists()
    assert "rolled back: " in up("resume", code=1).stdout
    assert (home / "log").read_text() == "did\nundid\n"
    assert not (home / "first").exists()


def test_a_second_ctrl_c_in_a_rollback_stops_at_once_and_nothing_is_undone_twice(up: Program) -> None:
    _slow_to_undo(up, 3)
    home = up.root / "localhost"
    process = up.start("rollback", "--yes")
    wait_for(home / "undoing")
    interrupt(process)
    time.sleep(0.3)
    before = time.monotonic()
    interrupt(process)
    process.communicate(timeout=60)
    assert time.monotonic() - before < 2
    assert process.returncode == 130
    up("rollback", "--yes")
    assert (home / "log").read_text() == "did\nundid\n"
    assert not (home / "first").exists()


def test_ctrl_c_in_a_resume_is_as_orderly_and_the_next_resume_goes_on(up: Program) -> None:
    home = up.root / "localhost"
    steps = "".join(f"""
- id: slow{number}
  command: {{run: "echo {number} >>'{home}/count'; touch '{home}/began{number}'; sleep 1.2"}}
  undo: {{command: {{run: "rm -f '{home}/count'"}}}}
""" for number in (1, 2, 3))
    process = up.start("apply", up.plan(steps), "--yes")
    for number in (1, 2):
        wait_for(home / f"began{number}")
        interrupt(process)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert not (home / f"began{number + 1}").exists()
        process = up.start("resume")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (home / "count").read_text() == "1\n2\n3\n"


def test_ctrl_c_at_the_question_touches_nothing(up: Program) -> None:
    _slow_to_undo(up, 0)
    (up.root / "localhost" / "first").unlink()  # something to apply again
    for words in (["rollback"], ["apply", "plan.yaml"]):
        with Terminal(up, *words) as terminal:
            terminal.wait_for("Only 'yes' goes on")
            terminal.type("\x03")
            assert terminal.finish() == 130
            assert "Traceback" not in terminal.plain
    assert len(up.json("runs")["runs"]) == 1
