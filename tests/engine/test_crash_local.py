"""The real program, killed by SIGKILL at every named point, then resumed or rolled back: nothing happens twice, and the
host ends as the plan wants it or as it was before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from ultraplan.engine.faults import POINTS

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "ultraplan.cli.main")

PLAN = """\
plan: crash
inputs:
  code: {type: integer, default: 0}
  host: {type: string}
steps:
  - id: folder
    directory: {path: "{{ inputs.host }}/tree/app", mode: "0750"}
  - id: config
    file: {path: "{{ inputs.host }}/tree/app/config", content: "new\\n", mode: "0640"}
  - id: count
    command: {run: "echo did >>{{ inputs.host }}/count"}
    undo:
      command: {run: "echo undid >>{{ inputs.host }}/count"}
  - id: line
    lineinfile: {path: "{{ inputs.host }}/tree/names", line: "192.0.2.7 app"}
  - id: last
    command: {run: "echo did >>{{ inputs.host }}/last; exit {{ inputs.code }}"}
    undo:
      command: {run: "echo undid >>{{ inputs.host }}/last"}
"""
BEFORE = {"names": ("0o100644", "192.0.2.1 old\n")}
AFTER = {"names": ("0o100644", "192.0.2.1 old\n192.0.2.7 app\n"), "app": ("0o40750", ""),
         "app/config": ("0o100640", "new\n")}


@dataclass(frozen=True)
class Kill:
    """``faults``: the points to be killed at, first in apply, the others in what goes on after it. ``verb``: how."""

    faults: tuple[str, ...]
    verb: str
    succeeds: bool

    @property
    def words(self) -> tuple[str, ...]:
        """What is typed after it."""
        return (self.verb,) if self.verb == "resume" else (self.verb, "--yes")

    def __str__(self) -> str:
        return f"{' then '.join(self.faults)}, {self.verb}, {'succeeds' if self.succeeds else 'fails'}"


def _kills() -> Iterator[Kill]:
    ways = (("resume", True), ("resume", False), ("rollback", True))
    for point, (verb, succeeds) in product(("before-intent", "after-intent", "after-effect", "before-verified"), ways):
        yield Kill((f"{point}:3",), verb, succeeds)
    for point in ("after-intent", "after-effect"):
        yield Kill((f"{point}:1",), "resume", True)
        yield Kill((f"{point}:4",), "rollback", True)
    for verb in ("resume", "rollback"):
        yield Kill(("before-close:1",), verb, True)
        yield Kill(("after-outcome:1",), verb, False)
        for fault in ("after-rollback-decided:1", "before-reverse-intent:3", "after-reverse-intent:2",
                      "after-reverse-intent:3", "after-reverse-effect:1", "after-reverse-effect:3", "before-close:1"):
            yield Kill((fault,), verb, False)
    yield Kill(("after-intent:3", "during-recovery:1"), "resume", True)
    yield Kill(("after-effect:3", "during-recovery:1", "during-recovery:1"), "resume", True)
    yield Kill(("after-effect:3", "during-recovery:1"), "rollback", True)
    yield Kill(("after-intent:1", "after-intent:2", "after-intent:2"), "resume", True)
    yield Kill(("after-effect:3", "after-intent:1", "after-reverse-intent:3"), "resume", False)
    yield Kill(("after-reverse-effect:2", "during-recovery:1"), "resume", False)
    yield Kill(("after-effect:5", "after-reverse-effect:1", "during-recovery:1"), "rollback", True)


@pytest.mark.parametrize("kill", list(_kills()), ids=str)
def test_killed_and_gone_on_with_nothing_happens_twice(kill: Kill, tmp_path: Path) -> None:
    world = _World(tmp_path)
    apply = ("apply", "plan.yaml", "-i", "hosts", "--yes", "-e", f"code={0 if kill.succeeds else 1}",
             "-e", f"host={world.host}")
    assert world.run(*apply, fault=kill.faults[0]) == -signal.SIGKILL, "the point was not passed so often"
    for fault in kill.faults[1:]:
        assert world.run(*kill.words, fault=fault) == -signal.SIGKILL, "the point was not passed so often"
    code = world.run(*kill.words)
    if kill.verb == "resume" and kill.succeeds:
        assert code == 0, world.said
        assert world.tree() == AFTER
        assert (world.log("count"), world.log("last")) == ({"did": 1}, {"did": 1})
    else:
        assert code == (0 if kill.verb == "rollback" else 1), world.said
        assert world.tree() == BEFORE
        for log in map(world.log, ("count", "last")):
            assert log in ({}, {"did": 1, "undid": 1}), log


def test_every_fault_point_is_in_the_matrix() -> None:
    assert {fault.partition(":")[0] for kill in _kills() for fault in kill.faults} == set(POINTS)


class _World:
    """A person's folder, the local host's tree, and what was said last."""

    def __init__(self, base: Path) -> None:
        self.base, self.host = base, base / "host"
        self.said = ""
        (self.host / "tree").mkdir(parents=True)
        (self.host / "tree" / "names").write_text("192.0.2.1 old\n")
        (self.host / "tree" / "names").chmod(0o644)
        (base / "plan.yaml").write_text(PLAN)
        (base / "hosts").write_text(f"localhost ansible_connection=local ultraplan_state_dir={self.host}/state\n")

    def run(self, *words: str, fault: str = "") -> int:
        """The program's exit code; a negative number is the signal that ended it."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ULTRAPLAN_STATE": str(self.base / "state"),
                       "ULTRAPLAN_FAULT": fault}
        done = subprocess.run([*PROGRAM, *words], cwd=self.base, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
        self.said = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode

    def tree(self) -> dict[str, tuple[str, str]]:
        """Every file and folder: its mode and its content."""
        root = self.host / "tree"
        return {str(path.relative_to(root)): (oct(path.stat().st_mode), path.read_text() if path.is_file() else "")
                for path in root.rglob("*")}

    def log(self, name: str) -> dict[str, int]:
        """How often a command and its undo happened."""
        path = self.host / name
        return dict(Counter(path.read_text().split())) if path.exists() else {}
