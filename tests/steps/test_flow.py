"""`assert`, `set_fact`, `approve` and `sleep`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ultraplan.secrets import Secrets
from ultraplan.steps.base import Context, ControllerStep, StepFailed, WayBack
from ultraplan.steps.flow import STEPS, Approve, Assert, SetFact, Sleep
from ultraplan.steps.params import BadParams, build, schema


def act(tmp_path: Path, step: ControllerStep[Any], raw: Any, ask: Callable[[str, float | None], bool] | None = None,
        wait: Callable[[float], None] | None = None) -> Any:
    def unexpected(*_: Any) -> Any:
        raise AssertionError("not to be called")

    context = Context(host=None, secrets=Secrets(), preimage=tmp_path, base=tmp_path,  # type: ignore[arg-type]
                      wait=wait or unexpected, ask=ask or unexpected, log=unexpected)
    params = build(step, raw, unexpected)
    state = step.observe(params, context)
    assert step.decide(params, state) is not None
    return step.act(params, state, context)


@pytest.mark.parametrize("kind", STEPS)
def test_it_changes_nothing_and_says_so(kind: type[ControllerStep[Any]]) -> None:
    assert kind().way_back_of({}) is WayBack.READ_ONLY


def test_an_assertion_fails_with_every_expression_that_is_false(tmp_path: Path) -> None:
    claims = [{"expr": "a > 1", "value": True}, {"expr": "b", "value": False}, {"expr": "c", "value": False}]
    with pytest.raises(StepFailed, match=r"^too few \(not true: b; not true: c\)$"):
        act(tmp_path, Assert(), {"that": claims, "message": "too few"})
    assert act(tmp_path, Assert(), {"that": claims[:1]}) == {}


def test_an_assertion_is_written_as_an_expression_or_a_list_of_them() -> None:
    import jsonschema

    for good in ({"that": "a == 1"}, {"that": ["a", "b"]}):
        jsonschema.validate(good, schema(Assert()))
    for bad in ({"that": []}, {"that": [1]}, {"that": {"expr": "a", "value": True}}, {}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema(Assert()))


def test_facts_keep_their_types(tmp_path: Path) -> None:
    facts = {"release": "2.1", "ports": [1, 2], "map": {"a": None}}
    assert act(tmp_path, SetFact(), facts) == facts
    assert SetFact.sets_facts


def test_a_fact_needs_a_name_that_expressions_can_use() -> None:
    assert [path for path, _ in SetFact().check({"ok": 1, "not-ok": 2, "1st": 3})] == [("not-ok",), ("1st",)]


@pytest.mark.parametrize(("raw", "answer", "outcome"), [
    ("Go?", True, {"answered": True}),
    ("Go?", False, "rejected: Go?"),
    ({"message": "Go?", "deadline": "2m"}, None, "nobody answered within 2m: Go?"),
    ({"message": "Go?", "deadline": "2m", "on_timeout": "approve"}, None, {"answered": False}),
    ({"message": "Go?", "deadline": "2m", "on_timeout": "approve"}, False, "rejected: Go?"),
])
def test_an_approval_follows_the_answer(tmp_path: Path, raw: Any, answer: bool | None, outcome: Any) -> None:
    asked: list[tuple[str, float | None]] = []

    def ask(question: str, deadline: float | None) -> bool:
        asked.append((question, deadline))
        if answer is None:
            raise TimeoutError
        return answer

    if isinstance(outcome, str):
        with pytest.raises(StepFailed) as failed:
            act(tmp_path, Approve(), raw, ask)
        assert str(failed.value) == outcome
    else:
        assert act(tmp_path, Approve(), raw, ask) == outcome
    assert asked == [("Go?", 120.0 if isinstance(raw, dict) else None)]


def test_sleep_waits_through_the_run_so_that_stopping_it_is_possible(tmp_path: Path) -> None:
    waited: list[float] = []
    assert act(tmp_path, Sleep(), "1m30s", wait=waited.append) == {}
    assert waited == [90.0]
    with pytest.raises(BadParams, match="not a duration"):
        act(tmp_path, Sleep(), "soon")
