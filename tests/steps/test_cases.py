"""Every case file, as a pure decision and executed for real. The format is described in README.md."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.steps.cases import Case, World, cases, tree
from tests.steps.executor import SYSTEM, busybox_applets
from ultraplan.secrets import shown
from ultraplan.steps.base import Change, Diff, StepFailed, TextDiff

SHELLS = ("dash", "busybox")
Start = Callable[[Case, str], World]


@pytest.fixture(scope="session")
def applets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PATH of busybox."""
    return busybox_applets(tmp_path_factory.mktemp("busybox") / "bin")


@pytest.fixture
def start(tmp_path: Path, applets: str) -> Start:
    """Makes the world of a case, on a host with the given kind of shell."""
    def make(case: Case, shell: str) -> World:
        if "root" in case.data.get("needs", ()) and os.geteuid() != 0:
            pytest.skip("needs root")
        if shell == "busybox":
            return World(case, tmp_path / "world", (f"{applets}/sh",), applets)
        return World(case, tmp_path / "world", ("dash",), SYSTEM)

    return make


def _row(diff: Diff) -> dict[str, Any]:
    if isinstance(diff, TextDiff):
        return {"path": diff.path, "before": diff.before, "after": None if diff.after is None else shown(diff.after)}
    row = {"field": diff.field, "before": diff.before, "after": diff.after}
    return row if diff.note is None else {**row, "note": diff.note}


def _expect_decision(world: World, change: Change, expected: dict[str, Any]) -> None:
    expected = world.fill(expected)
    if "summary" in expected:
        assert shown(change.summary) == expected["summary"]
    if "diff" in expected:
        assert [_row(diff) for diff in change.diff] == [
            {key: shown(value) if isinstance(value, str) else value for key, value in row.items()}
            for row in expected["diff"]]
    if expected.get("after"):
        assert change.after is not None
        assert expected["after"].items() <= dict(change.after).items()
    assert change.forward is not None


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.step}/{case.name}")
def test_case(case: Case, shell: str, start: Start) -> None:
    world = start(case, shell)
    exact, before = tree(world.root, times=True), tree(world.root)
    expect = case.data["expect"]

    if "refused" in expect:
        with pytest.raises(StepFailed) as failure:
            world.decide()
        assert re.search(world.fill(expect["refused"]), str(failure.value))
        assert tree(world.root, times=True) == exact
        return
    state = world.observe()
    assert tree(world.root, times=True) == exact, "the probe changed something"
    assert world.left() == []
    if "state" in expect:
        assert world.fill(expect["state"]).items() <= dict(state.facts).items()
    change = world.step.decide(world.params, state)
    if case.change is None:
        assert change is None, f"nothing was to be done, but: {change and change.summary}"
        world.sh("check")
        return
    assert change is not None, "there was something to do"
    _expect_decision(world, change, case.change)
    assert change.forward is not None

    if change.reverse is not None:
        reply = world.run(change.reverse)
        assert (reply.exit, tree(world.root, times=True)) == (0, exact), "a reverse without a forward did something"
    reply = world.run(change.forward)
    if case.fails:
        assert reply.exit != 0
        assert re.search(world.fill(case.change.get("message", "")), reply.error_text)
    else:
        assert reply.exit == 0, reply.error_text
        _expect_done(world, change, reply)
        world.sh("check")
        world.sh("later")
        if "later" not in case.data and not change.forward.foreign:
            assert world.run(change.forward).exit == 0
            _expect_done(world, change, reply)
    if change.reverse is None:
        return
    if case.data.get("reverse") == "fails":
        kept = tree(world.root)
        reply = world.run(change.reverse)
        assert reply.exit != 0
        assert re.search(world.fill(case.data.get("reverse_message", "")), reply.error_text)
        assert tree(world.root) == kept
        return
    for _ in ("once", "twice"):
        reply = world.run(change.reverse)
        assert reply.exit == 0, reply.error_text
        assert tree(world.root) == before
        assert world.left() == []


def _expect_done(world: World, change: Change, reply: Any) -> None:
    state = world.observe()
    assert world.step.decide(world.params, state) is None, "the step is not idempotent"
    assert world.step.verify(world.params, state, reply) is None
    if change.after is not None:
        assert dict(state.facts) == dict(change.after)
    outputs = dict(world.step.outputs(world.params, state, reply))
    assert outputs.keys() <= set(world.step.outputs_doc)
    if change.outputs is not None:
        assert dict(change.outputs).items() <= outputs.items()
    expected = (world.case.change or {}).get("outputs", {})
    assert world.fill(expected).items() <= outputs.items()
