"""Thousands of runs with a virtual clock in bad worlds; a failure names its seed, which replays it exactly."""

from __future__ import annotations

import random

import pytest

from tests.simulation.scenario import scenario
from tests.simulation.simulate import simulate

RUNS, PARTS = 10_000, 10
LONG_RUNS = 200_000


@pytest.mark.parametrize("part", range(PARTS))
def test_every_invariant_holds_in_ten_thousand_worlds(part: int) -> None:
    statuses = {simulate(seed).status for seed in range(part * RUNS // PARTS, (part + 1) * RUNS // PARTS)}
    assert statuses >= {"succeeded", "rolled_back", "rollback_incomplete", "failed", "paused"}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(20))
def test_every_invariant_holds_in_two_hundred_thousand_more(part: int) -> None:
    for seed in range(RUNS + part * LONG_RUNS // 20, RUNS + (part + 1) * LONG_RUNS // 20):
        simulate(seed)


def test_a_seed_replays_the_same_world() -> None:
    for seed in range(50):
        assert simulate(seed) == simulate(seed)


def test_the_worlds_hold_what_the_invariants_are_about() -> None:
    shapes = [scenario(random.Random(seed)).shape for seed in range(300)]
    nodes = [node for shape in shapes for node in shape.nodes.values()]
    assert any(shape.free for shape in shapes)
    assert any(len(shape.batches) > 1 for shape in shapes)
    assert {shape.rollback_scope for shape in shapes} == {"run", "batch", "host"}
    assert {node.on_failure for node in nodes} == {"rollback", "continue", "stop"}
    assert {around.role for node in nodes for around in node.blocks} == {"block", "rescue", "always"}
    assert any(len(node.blocks) > 1 for node in nodes)
    assert any(node.irreversible for node in nodes)
    assert any(node.single for node in nodes)
    assert any(len(node.needs) > 1 for node in nodes)
