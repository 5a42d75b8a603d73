"""What a host runs by itself as an undo, with nobody to look first: the program looks."""

from __future__ import annotations

import pytest

from tests.steps.hostshell import HostShell
from ultraplan.steps.commands import CommandStep, ScriptStep
from ultraplan.steps.files import FileStep


@pytest.mark.parametrize(("condition", "there", "ran", "exit_code"), [
    ("removes", True, True, 3), ("removes", False, False, 3),
    ("creates", False, True, 3), ("creates", True, False, 3),
    (None, False, True, 3),
])
@pytest.mark.parametrize("kind", [CommandStep, ScriptStep])
def test_it_looks_for_what_it_creates_or_removes_when_it_runs(
        host: HostShell, kind: type[CommandStep] | type[ScriptStep], condition: str | None, there: bool, ran: bool,
        exit_code: int) -> None:
    step, thing, mark = kind(), host.root / "a 'thing'; touch x", host.root / "mark"
    text = f"echo ran >>{mark}; exit {exit_code}"
    params = host.build(step, **({"run": text} if kind is CommandStep else {"content": text}),
                        ok_exit=[exit_code], **({condition: str(thing)} if condition else {}))
    program = step.unattended(params)
    assert program is not None and program.foreign
    if there:
        thing.symlink_to("nowhere")
    reply = host.run(program)
    assert (reply.exit, mark.exists()) == (exit_code, ran)
    assert not (host.root / "x").exists()


def test_a_type_that_has_to_decide_first_gives_none(host: HostShell) -> None:
    step = FileStep()
    assert step.unattended(host.build(step, path=str(host.root / "x"), content="")) is None
