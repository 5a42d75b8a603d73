"""A step that asks a person, in a run that has no terminal: the answer comes by the journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PLAN = """
plan: ask
steps:
  - id: before
    file: {{path: {root}/before, content: "x"}}
  - id: go
    approve: {{message: "Really go?", deadline: {deadline}}}
  - id: after
    file: {{path: {root}/after, content: "x"}}
"""


class World:
    """A plan that asks, on this machine, in a folder of its own."""

    def __init__(self, root: Path, deadline: str) -> None:
        self.root = root
        (root / "plan.yaml").write_text(PLAN.format(root=root, deadline=deadline))
        (root / "hosts").write_text(f"localhost ansible_connection=local ultraplan_state_dir={root}/host\n")
        self.environment = {**os.environ, "ULTRAPLAN_STATE": str(root / "state")}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-m", "ultraplan.cli.main", *words], cwd=self.root, text=True,
                                env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def up(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        out, _ = process.communicate(timeout=60)
        return process.returncode, out

    def apply(self) -> subprocess.Popen[str]:
        return self.start("apply", "plan.yaml", "-i", "hosts", "--yes")

    def until_asked(self) -> None:
        for _ in range(300):
            code, out = self.up("runs", "show", "last", "--json")
            if code == 0 and "Really go?" in out:
                return
            time.sleep(0.1)
        pytest.fail("the question never came")


@pytest.mark.parametrize(("answer", "code", "there"), [("yes", 0, True), ("no", 1, False)])
def test_the_answer_of_another_terminal_decides(tmp_path: Path, answer: str, code: int, there: bool) -> None:
    world = World(tmp_path, "60s")
    process = world.apply()
    world.until_asked()
    assert world.up("runs", "answer", "last", answer)[0] == 0
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    assert (tmp_path / "after").exists() is there
    assert (tmp_path / "before").exists() is there  # a "no" undoes what came before


def test_without_an_answer_the_deadline_decides(tmp_path: Path) -> None:
    world = World(tmp_path, "1s")
    out, _ = (process := world.apply()).communicate(timeout=60)
    assert process.returncode == 1
    assert "nobody answered within 1s" in out
    assert not (tmp_path / "before").exists()


def test_an_answer_given_while_no_process_lives_is_taken_by_resume(tmp_path: Path) -> None:
    world = World(tmp_path, "60s")
    process = world.apply()
    world.until_asked()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert world.up("runs", "answer", "last", "yes")[0] == 0
    code, out = world.up("resume", "last")
    assert code == 0, out
    assert (tmp_path / "after").exists()


def test_where_nothing_is_asked_there_is_nothing_to_answer(tmp_path: Path) -> None:
    world = World(tmp_path, "1s")
    world.apply().communicate(timeout=60)
    code, out = world.up("runs", "answer", "last", "yes", "--json")
    assert code == 2
    assert json.loads(out)["message"] == "nothing is asked"
