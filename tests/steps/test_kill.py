"""Whatever of its commands a program is killed at (SIGKILL), it or its reverse, run after it, ends right."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.steps.cases import Case, World, cases, tree
from tests.steps.executor import SYSTEM
from ultraplan.shell import Program
from ultraplan.steps.base import Change

_OTHER_FILE_SYSTEM = Path("/dev/shm")

CASES = [case for case in cases() if case.data.get("kill")]
_HARMLESS = re.compile(r"\+ (\[|read|test|case|set|umask|shift|command|return|true|cd|local|break|up_\w+|\w+=)")
SOME, ALL = 5, pytest.param(10_000, marks=pytest.mark.long)
STATES = ("same file system", "other file system")


class Killing:
    """Worlds of one case, made anew for each kill. ``states``: where their state folders go, None for beside them."""

    def __init__(self, case: Case, base: Path, states: Path | None) -> None:
        self.case, self.base, self.states, self.made = case, base, states, 0

    def world(self) -> tuple[World, Change]:
        """A fresh world, and the change to be done in it."""
        self.made += 1
        state = None if self.states is None else self.states / str(self.made)
        world = World(self.case, self.base / str(self.made), ("dash",), SYSTEM, state)
        change = world.decide()
        assert change is not None
        assert change.forward is not None
        return world, change


@pytest.fixture(params=STATES)
def killing(request: pytest.FixtureRequest, case: Case, tmp_path: Path) -> Iterator[Killing]:
    """Worlds with their state on the one or the other file system."""
    if "root" in case.data.get("needs", ()) and os.geteuid() != 0:
        pytest.skip("needs root")
    if request.param == "same file system":
        yield Killing(case, tmp_path, None)
        return
    if not _OTHER_FILE_SYSTEM.is_dir() or _OTHER_FILE_SYSTEM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(prefix="ultraplan-", dir=_OTHER_FILE_SYSTEM) as states:
        yield Killing(case, tmp_path, Path(states))


def _points(world: World, program: Program | None, most: int) -> list[int]:
    """After how many commands to kill: at each one that may change something, and at the one after it; at ``most`` of
    them, spread over the program."""
    assert program is not None
    begun = world.host.trace(world.revealed(program))
    effects = [number for number, line in enumerate(begun, 1) if not _HARMLESS.match(line)]
    points = sorted({1, *effects, *(number + 1 for number in effects if number < len(begun))})
    return points[:: -(-len(points) // most)]


def _kill(world: World, program: Program | None, after: int) -> None:
    assert program is not None
    assert world.host.run_killed(world.revealed(program), after)


def _gone_back(world: World, change: Change, before: object, what: str) -> None:
    assert change.reverse is not None
    reply = world.run(change.reverse)
    assert reply.exit == 0, f"{what}: {reply.error_text}"
    assert tree(world.root) == before, what
    assert world.left() == [], what


@pytest.mark.parametrize("most", [SOME, ALL], ids=["some", "all"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.step}/{case.name}")
def test_a_killed_forward_program_can_go_back_or_run_again(case: Case, killing: Killing, most: int) -> None:
    world, change = killing.world()
    for after in _points(world, change.forward, most):
        world, change = killing.world()
        before = tree(world.root)
        _kill(world, change.forward, after)
        _gone_back(world, change, before, f"forward killed after {after} commands")
        _kill(world, change.forward, after)
        assert change.forward is not None
        reply = world.run(change.forward)
        assert reply.exit == 0, f"killed after {after} commands, then run again: {reply.error_text}"
        assert world.decide() is None
        world.sh("check")
        _gone_back(world, change, before, f"forward killed after {after} commands, then run again")


@pytest.mark.parametrize("most", [SOME, ALL], ids=["some", "all"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.step}/{case.name}")
def test_a_killed_reverse_program_can_run_again(case: Case, killing: Killing, most: int) -> None:
    world, change = killing.world()
    before = tree(world.root)
    assert change.forward is not None
    assert world.run(change.forward).exit == 0
    for after in _points(world, change.reverse, most):
        assert world.run(change.forward).exit == 0
        _kill(world, change.reverse, after)
        _gone_back(world, change, before, f"reverse killed after {after} commands")
