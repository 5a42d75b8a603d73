"""Which steps may have `confirm`, as far as a plan's text tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ultraplan.language.document import Step
from ultraplan.language.errors import Diagnostic
from ultraplan.steps.base import ControllerStep, HostStep, StepType, WayBack

LEAST = 1.0
"""Seconds that a confirmation has at least: a host's timer looks at its clock once a second."""


def unconfirmable(step: Step, types: Mapping[str, StepType[Any]]) -> Iterator[Diagnostic]:
    """What is wrong with the step's `confirm`; nothing where it has none, or where its type is not known."""
    kind = types.get(step.type)
    if step.confirm is None or kind is None:
        return
    if step.irreversible is not None:
        yield _wrong(step, "confirm", "there is nothing that the host could do by itself: the step is irreversible",
                     "say how it is undone, with `undo`")
    elif step.reads_only or kind.way_back_of(_given(step)) == WayBack.READ_ONLY:
        yield _wrong(step, "confirm", "there is nothing to undo: the step changes nothing", "remove it")
    elif isinstance(kind, ControllerStep):
        yield _wrong(step, "confirm", f"a host cannot undo {step.type} by itself: it acts from the controller",
                     "put it on the step that changes the host")
    elif step.undo is not None:
        yield from _undo(step, step.undo, types)
    if float(step.confirm) < LEAST:
        yield _wrong(step, "confirm", f"{step.confirm} is too short to be confirmed", "give it 30s or more")
    elif step.timeout is not None and step.timeout > step.confirm:
        yield _wrong(step, "timeout", f"after {step.confirm} (confirm) the host undoes the step, so it cannot take "
                                      f"{step.timeout}", "confirm has to be longer than what the step may take")


def _undo(step: Step, undo: Step, types: Mapping[str, StepType[Any]]) -> Iterator[Diagnostic]:
    kind = types.get(undo.type)
    if kind is not None and (not isinstance(kind, HostStep) or type(kind).unattended is HostStep.unattended):
        able = [name for name, one in types.items()
                if isinstance(one, HostStep) and type(one).unattended is not HostStep.unattended]
        yield _wrong(step, "undo", f"a host cannot run {undo.type} by itself, which confirm needs of an undo",
                     f"it can run {' and '.join(sorted(able))}", undo.type)
    if undo.become is not None and undo.become != step.become:
        yield _wrong(step, "undo", "under confirm, an undo runs as the account that its step runs as", None, "become")


def _given(step: Step) -> Mapping[str, Any]:
    return step.params if isinstance(step.params, Mapping) else {}


def _wrong(step: Step, key: str, message: str, hint: str | None, *below: str) -> Diagnostic:
    at = step.origin.at(key, *below, key=True)
    return Diagnostic("confirm", message, at, step.origin.line(at), hint)
