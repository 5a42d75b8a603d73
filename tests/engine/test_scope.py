"""What expressions see of a run: their own plan's names, their own host's facts and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.graph.world import compile_text
from ultraplan.engine.operations import Result
from ultraplan.engine.scope import Scope
from ultraplan.graph.model import Graph
from ultraplan.language.expressions import ExpressionError, evaluate

PLAN = """
plan: p
hosts: web[0:1]
inputs: {color: {type: string, default: red}}
vars: {port: 81, both: "{{ vars.port }}-{{ host.name }}"}
steps:
  - {id: first, do: x}
  - {id: once, do: x, run_once: true}
  - {id: turns, do: "{{ item }}", loop: [a, b]}
  - {id: inc, include: {plan: inner.yaml}}
  - {id: last, do: "{{ steps.first.outputs.path }}", vars: {port: 82}}
"""
INNER = """
plan: inner
steps:
  - {id: first, do: x}
  - {id: second, do: x}
"""


class _Asked:
    """The built-in facts of hosts, and who was asked for them."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def __call__(self, host: str) -> Mapping[str, Any]:
        self.hosts.append(host)
        return {"os": "debian", "hostname": host}


@pytest.fixture
def graph() -> Graph:
    return compile_text(PLAN, {"inner.yaml": INNER})


@pytest.fixture
def asked() -> _Asked:
    return _Asked()


@pytest.fixture
def scope(graph: Graph, asked: _Asked) -> Scope:
    scope = Scope(graph, {"id": "r1", "check": False}, asked)
    scope.results.update({
        ("first", "web1"): Result("changed", True, {"path": "/one"}),
        ("first", "web2"): Result("unchanged", False, {"path": "/two"}),
        ("once", "web1"): Result("changed", True, {"size": 7}),
        ("turns[0]", "web1"): Result("unchanged", False, {"path": "a"}),
        ("turns[1]", "web1"): Result("changed", True, {"path": "b"}),
        ("inc/first", "web1"): Result("failed", True, {}),
    })
    return scope


def _sees(graph: Graph, scope: Scope, expression: str, node: str = "last", host: str = "web1") -> Any:
    return evaluate(expression, scope.names(graph.nodes[node], graph.inventory.hosts[host]))


@pytest.mark.parametrize(("expression", "value"), [
    ("inputs.color", "red"),
    ("host.name", "web1"),
    ("host.address", "192.0.2.1"),
    ("host.vars.zone", "1"),
    ("host.groups", ["all", "web"]),
    ("groups.web | length", 4),
    ("run.id", "r1"),
    ("vars.port", 82),                            # the step's own before the plan's before the host's
    ("vars.both", "82-web1"),
    ("vars.alone", 1),
    ("facts.os", "debian"),
    ("steps.first.status", "changed"),
    ("steps.first.changed", True),
    ("steps.first.failed", False),
    ("steps.first.outputs.path", "/one"),
    ("steps.once.outputs.size", 7),
    ("steps.turns.changed", True),
    ("steps.turns.status", "changed"),
    ("steps.turns.results | map(attribute='outputs.path') | list", ["a", "b"]),
    ("steps.turns.outputs.path", "b"),
    ("steps.inc.failed", True),
    ("steps.inc.status", "failed"),
])
def test_an_expression_sees(graph: Graph, scope: Scope, expression: str, value: object) -> None:
    assert _sees(graph, scope, expression) == value


def test_results_are_those_of_the_own_host(graph: Graph, scope: Scope) -> None:
    assert _sees(graph, scope, "steps.first.outputs.path", host="web2") == "/two"


def test_what_ran_once_is_seen_by_every_host(graph: Graph, scope: Scope) -> None:
    assert _sees(graph, scope, "steps.once.outputs.size", host="web2") == 7


def test_what_did_not_run_counts_as_skipped(graph: Graph, scope: Scope) -> None:
    assert _sees(graph, scope, "steps.turns.status", host="web2") == "skipped"
    assert _sees(graph, scope, "steps.turns.changed", host="web2") is False


def test_an_included_plan_sees_its_own_steps(graph: Graph, scope: Scope) -> None:
    assert _sees(graph, scope, "steps.first.failed", node="inc/second") is True
    with pytest.raises(ExpressionError):
        _sees(graph, scope, "steps.once.status", node="inc/second")


def test_an_item_is_seen_in_a_loop_only(graph: Graph, scope: Scope) -> None:
    assert _sees(graph, scope, "item ~ index", node="turns[1]") == "b1"
    with pytest.raises(ExpressionError):
        _sees(graph, scope, "item")


def test_facts_that_a_step_set_win_over_built_in_ones_on_their_host_only(graph: Graph, scope: Scope) -> None:
    scope.facts_set["web1"] = {"os": "mine", "release": 4}
    assert _sees(graph, scope, "facts.os ~ facts.release") == "mine4"
    assert _sees(graph, scope, "facts.os", host="web2") == "debian"
    assert sorted(_sees(graph, scope, "facts | list")) == ["hostname", "os", "release"]


def test_a_host_is_asked_for_facts_only_when_an_expression_wants_them(
        graph: Graph, scope: Scope, asked: _Asked) -> None:
    _sees(graph, scope, "steps.first.changed and host.name == 'web1'")
    assert asked.hosts == []
    _sees(graph, scope, "facts.hostname")
    assert set(asked.hosts) == {"web1"}


def test_results_that_come_later_are_seen_by_names_that_were_made_before(graph: Graph, scope: Scope) -> None:
    names = scope.names(graph.nodes["last"], graph.inventory.hosts["web2"])
    scope.results["turns[0]", "web2"] = Result("changed", True, {})
    assert evaluate("steps.turns.changed", names) is True
