"""Steps that steer a run and change nothing: `assert`, `set_fact`, `approve`, `sleep`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ultraplan.language.values import Duration
from ultraplan.steps.base import Change, Context, ControllerStep, State, StepFailed, WayBack
from ultraplan.steps.params import NAME_PATTERN


@dataclass(frozen=True, slots=True)
class Claim:
    """An expression of an `assert`, and whether it held."""

    expr: str
    value: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertParams:
    """Parameters of `assert`."""

    that: Annotated[
        list[Claim], Meta(description="What must hold: an expression without braces, or a list of them")
    ]
    message: Annotated[str | None, Meta(description="What to say where it does not")] = None


class Assert(ControllerStep[AssertParams]):
    """Fails unless every expression is true."""

    name = "assert"
    summary = "Fail unless expressions hold"
    Params = AssertParams
    shorthand = "that"
    raw_params = frozenset({"that"})
    way_back = WayBack.READ_ONLY
    example = """\
- id: sane
  assert:
    that:
      - inputs.root is string
      - inputs.root | length > 1
    message: "No root folder was given"
"""

    def decide(self, params: AssertParams, state: State) -> Change | None:
        return Change(summary=f"holds: {' and '.join(claim.expr for claim in params.that)}")

    def act(self, params: AssertParams, state: State, context: Context) -> Mapping[str, Any]:
        false = [claim.expr for claim in params.that if not claim.value]
        if false:
            found = "; ".join(f"not true: {expr}" for expr in false)
            raise StepFailed(f"{params.message} ({found})" if params.message else found)
        return {}


class SetFact(ControllerStep[dict[str, Any]]):
    """Gives values names that later steps of the same host use as ``facts.NAME``."""

    name = "set_fact"
    summary = "Give values names that later steps use as facts.NAME"
    Params = dict[str, Any]
    sets_facts = True
    way_back = WayBack.READ_ONLY
    example = """\
- id: where
  set_fact:
    data: "{{ inputs.root }}/data"
"""
    outputs_doc: ClassVar[Mapping[str, str]] = {"*": "each name with its value"}

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return [((name,), f"{name!r} is not a name that an expression can use ({NAME_PATTERN})")
                for name in raw if not (str(name).isidentifier() and str(name).isascii())]

    def decide(self, params: dict[str, Any], state: State) -> Change | None:
        return Change(summary=f"set {', '.join(params)}", outputs=params)

    def act(self, params: dict[str, Any], state: State, context: Context) -> Mapping[str, Any]:
        return params


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveParams:
    """Parameters of `approve`."""

    message: Annotated[str, Meta(min_length=1, description="What is asked; yes goes on")]
    deadline: Annotated[
        Duration | None, Meta(description="How long to wait for an answer; without it, as long as it takes")
    ] = None
    on_timeout: Annotated[
        Literal["reject", "approve"], Meta(description="What no answer before the deadline means")
    ] = "reject"


class Approve(ControllerStep[ApproveParams]):
    """Waits until a person agrees."""

    name = "approve"
    summary = "Wait until a person agrees"
    Params = ApproveParams
    shorthand = "message"
    way_back = WayBack.READ_ONLY
    example = """\
- id: sure
  approve:
    message: "Restore {{ inputs.root }}?"
    deadline: 1s
    on_timeout: approve
"""
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "answered": "whether a person answered; false where the deadline decided",
    }

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        if "on_timeout" in raw and "deadline" not in raw:
            return [(("on_timeout",), "without a `deadline` there is no timeout")]
        return []

    def decide(self, params: ApproveParams, state: State) -> Change | None:
        limit = "" if params.deadline is None else f" (within {params.deadline}, else {params.on_timeout})"
        return Change(summary=f"asks: {params.message}{limit}")

    def act(self, params: ApproveParams, state: State, context: Context) -> Mapping[str, Any]:
        try:
            agreed = context.ask(params.message, params.deadline)
        except TimeoutError:
            if params.on_timeout == "approve":
                return {"answered": False}
            if params.deadline is None:
                raise StepFailed("nobody is at a terminal to answer, and without a deadline the step does not wait "
                                 f"for `ultraplan runs answer`: {params.message}") from None
            raise StepFailed(f"nobody answered within {params.deadline}: {params.message}") from None
        if not agreed:
            raise StepFailed(f"rejected: {params.message}")
        return {"answered": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepParams:
    """Parameters of `sleep`."""

    duration: Annotated[Duration, Meta(description="How long")]


class Sleep(ControllerStep[SleepParams]):
    """Lets time pass."""

    name = "sleep"
    summary = "Let time pass"
    Params = SleepParams
    shorthand = "duration"
    way_back = WayBack.READ_ONLY
    example = """\
- id: settle
  sleep: 100ms
"""

    def decide(self, params: SleepParams, state: State) -> Change | None:
        return Change(summary=f"waits {params.duration}")

    def act(self, params: SleepParams, state: State, context: Context) -> Mapping[str, Any]:
        context.wait(params.duration)
        return {}


STEPS = (Assert, SetFact, Approve, Sleep)
