"""Wall clocks that are set while a run goes on: an hour back, a day forward. Nothing waits for them, nothing is ended
or taken over by them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.program import Program, wait_for

HOUR, DAY = 3600, 86400
SHIFTED = """
import os, sys, time
real, by, at = time.time, float(sys.argv[1]), sys.argv[2]
time.time = lambda: real() + (by if os.path.exists(at) else 0)
del sys.argv[1:3]
from ultraplan.cli.main import entry
entry()
"""
STEPS = """
- id: slow
  command: {run: "echo began >>count; {{ inputs.wait }}; echo ended >>count", chdir: "{{ host.vars.root }}"}
  timeout: "{{ inputs.timeout }}"
  undo: {command: {run: "echo undone >>{{ host.vars.root }}/count"}}
- {id: config, file: {path: "{{ host.vars.root }}/config", content: "new\\n"}}
"""
HEAD = "inputs: {wait: {type: string}}\n"
NO_WAIT, UNTIL_TOLD, FOR_EVER = "wait=:", "wait=until [ -e go ]; do sleep 0.1; done", "wait=sleep 4711"


@pytest.fixture
def up(tmp_path: Path) -> Program:
    return Program(tmp_path, tmp_path / "bytecode", ("a",))


def plan(up: Program, timeout: str) -> str:
    return up.plan(STEPS.replace('"{{ inputs.timeout }}"', timeout), head=HEAD)


def shifted(up: Program, by: float, *words: str, at: Path) -> subprocess.Popen[str]:
    """The program; its wall clock jumps by so many seconds as soon as there is something at ``at``."""
    return subprocess.Popen([sys.executable, "-c", SHIFTED, str(by), str(at), *words], cwd=up.folder, text=True,
                            env=up.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def count(up: Program) -> list[str]:
    return (up.root / "a" / "count").read_text().split()


def let_go(up: Program) -> None:
    """The command may end."""
    (up.root / "a" / "go").touch()


def _taken_over(up: Program) -> None:
    """Wait until another process goes on with the run."""
    end = time.monotonic() + 60
    while not any(one["text"].startswith("taken over") for one in up.json("runs", "show", code=None)["timeline"]):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("by", [pytest.param(-HOUR, id="an hour back"),
                                pytest.param(DAY, id="a day forward", marks=pytest.mark.long)])
def test_a_jump_in_the_middle_of_a_run_changes_nothing_of_it(up: Program, by: float) -> None:
    began = up.root / "a" / "count"
    run = shifted(up, by, "apply", plan(up, "60s"), "--yes", "-e", UNTIL_TOLD, at=began)
    wait_for(began)
    up("apply", plan(up, "60s"), "--yes", "-e", NO_WAIT, code=6)  # the lock is held, whatever the holder's clock says
    let_go(up)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, ""), out
    assert count(up) == ["began", "ended"]
    told = up.json("runs", "show")
    assert told["status"] == "succeeded"
    assert up("runs").returncode == 0
    up("rollback", "last", "--yes")
    assert count(up) == ["began", "ended", "undone"]


@pytest.mark.parametrize("by", [pytest.param(-DAY, id="a day back", marks=pytest.mark.long),
                                pytest.param(DAY, id="a day forward")])
def test_an_effect_of_a_killed_run_is_waited_for_by_the_hosts_own_clock(up: Program, by: float) -> None:
    _killed_in_the_effect(up, plan(up, "60s"), UNTIL_TOLD)
    run = shifted(up, by, "resume", at=up.folder)
    _taken_over(up)
    let_go(up)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    assert count(up) == ["began", "ended"], "it was neither ended nor done again"


@pytest.mark.parametrize("by", [pytest.param(-DAY, id="a day back"),
                                pytest.param(DAY, id="a day forward", marks=pytest.mark.long)])
def test_and_is_ended_by_it_when_its_time_is_up(up: Program, by: float) -> None:
    _killed_in_the_effect(up, plan(up, "4s"), FOR_EVER)
    began = time.monotonic()
    run = shifted(up, by, "resume", at=up.folder)
    out, err = run.communicate(timeout=60)
    assert run.returncode in (1, 5), out + err
    assert time.monotonic() - began < 40
    assert _running_in(up.root / "a") == []


def _running_in(folder: Path) -> list[str]:
    """The processes that have ``folder`` as their working folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
    return found


def _killed_in_the_effect(up: Program, name: str, wait: str) -> None:
    process = up.start("apply", name, "--yes", "-e", wait)
    wait_for(up.root / "a" / "count")
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_lease_is_neither_lost_nor_kept_by_a_jump(up: Program) -> None:
    """While its holder lives, a clock that is a day ahead takes no lease over; when it is dead, the same run is gone on
    with at once, whatever the clock."""
    began = up.root / "a" / "count"
    run = up.start("apply", plan(up, "60s"), "--yes", "-e", UNTIL_TOLD)
    wait_for(began)
    thief = shifted(up, DAY, "apply", plan(up, "60s"), "--yes", "-e", NO_WAIT, at=up.folder)
    thief.communicate(timeout=60)
    assert thief.returncode == 6
    run.send_signal(signal.SIGKILL)
    run.communicate()
    heir = shifted(up, -DAY, "resume", at=up.folder)
    _taken_over(up)
    let_go(up)
    out, err = heir.communicate(timeout=60)
    assert heir.returncode == 0, out + err
    assert count(up) == ["began", "ended"]
