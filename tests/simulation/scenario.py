"""Random plans as the conductor sees them, and how each of their operations behaves."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ultraplan.engine.shape import Shape, ShapeNode
from ultraplan.graph.model import BlockRole

Key = tuple[str, str]

CHANGE, COMMAND, IRREVERSIBLE, CHECK, UNCHANGED, UNWANTED = (
    "change", "command", "irreversible", "check", "unchanged", "unwanted")
"""Kinds of steps. CHANGE: its state can be looked at, so doing it again is safe. COMMAND: opaque, with a declared undo.
IRREVERSIBLE: opaque, without one. CHECK: changes nothing. UNCHANGED: as wanted already. UNWANTED: `when` is false."""

KINDS = (CHANGE,) * 8 + (COMMAND,) * 7 + (IRREVERSIBLE, CHECK, CHECK, UNCHANGED, UNWANTED)
ALWAYS = 99
"""Attempts that fail, where all do."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan and what will go wrong in it whatever the weather: attempts that fail, forward and backward."""

    shape: Shape
    kinds: dict[str, str]
    retries: dict[str, int]
    failing: dict[Key, int]
    undo_failing: dict[Key, int]
    text: list[str] = field(default_factory=list)


def scenario(rng: random.Random) -> Scenario:
    """A small plan; small ones find the same mistakes as large ones, and can be read."""
    hosts = [f"h{n}" for n in range(1, rng.choice((1, 1, 2, 2, 3, 4)) + 1)]
    builder = _Builder(rng, hosts, rng.randint(1, 7))
    builder.container((), (), 0)
    shape = Shape(
        nodes=builder.nodes, batches=_batches(rng, hosts), free=rng.random() < 0.3,
        max_fail_percentage=rng.choice((0, 0, 0, 25, 34, 50, 100)),
        max_unreachable_percentage=rng.choice((0, 0, 0, 25, 34, 50, 100)),
        rollback_scope=rng.choice(("run", "run", "run", "batch", "host")))
    kinds = {name: rng.choice(KINDS) if not node.irreversible else IRREVERSIBLE for name, node in shape.nodes.items()}
    keys = [(node.id, host) for node in shape.nodes.values() for host in node.hosts]
    wicked = rng.choice((0.0, 0.05, 0.15, 0.3))
    return Scenario(
        shape=shape, kinds=kinds, retries={name: rng.choice((0, 0, 0, 1, 2)) for name in shape.nodes},
        failing={key: rng.choice((1, 2, ALWAYS)) for key in keys if rng.random() < wicked},
        undo_failing={key: rng.choice((1, ALWAYS)) for key in keys if rng.random() < wicked / 3},
        text=builder.text)


def _batches(rng: random.Random, hosts: list[str]) -> tuple[tuple[str, ...], ...]:
    if rng.random() < 0.6:
        return (tuple(hosts),)
    batches, left = [], list(hosts)
    while left:
        size = rng.randint(1, len(left))
        batches.append(tuple(left[:size]))
        left = left[size:]
    return tuple(batches)


class _Builder:
    """Makes nodes the way the compiler does: a step waits for the one above it, or for what its ``needs`` say."""

    def __init__(self, rng: random.Random, hosts: list[str], budget: int) -> None:
        self.rng, self.hosts, self.budget = rng, hosts, budget
        self.nodes: dict[str, ShapeNode] = {}
        self.text: list[str] = []
        self._ends: dict[str, tuple[str, ...]] = {}     # step or block -> the nodes at its end
        self._within: dict[str, tuple[str, ...]] = {}   # step or block -> the containers around it
        self._containers = self._blocks = 0

    def container(self, begin: tuple[str, ...], blocks: tuple[BlockRole, ...], depth: int,
                  within: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of steps, at least one; gives the nodes at its end."""
        self._containers += 1
        mine = (*within, f"c{self._containers}")
        above: tuple[str, ...] | None = None
        ends: dict[str, None] = {}
        first = True
        while first or (self.budget > 0 and self.rng.random() < 0.75):
            first = False
            waits, why = self._waits(begin, above, mine)
            above = (self._block(waits, blocks, depth, mine, why)
                     if depth < 2 and self.budget > 2 and self.rng.random() < 0.22
                     else self._step(waits, blocks, depth, mine, why))
            ends.update(dict.fromkeys(above))
        return tuple(ends)

    def _waits(self, begin: tuple[str, ...], above: tuple[str, ...] | None,
               mine: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
        if self.rng.random() < 0.7:
            return above if above is not None else begin, ""
        known = list(self._ends)
        wanted = self.rng.sample(known, min(len(known), self.rng.choice((0, 1, 1, 2))))
        inside = any(mine[-1] in self._within[name] for name in wanted)
        needs = {end: None for name in wanted for end in self._ends[name]}
        if not inside:
            needs.update(dict.fromkeys(begin))
        return tuple(needs), f" needs {wanted}"

    def _step(self, needs: tuple[str, ...], blocks: tuple[BlockRole, ...], depth: int,
              mine: tuple[str, ...], why: str) -> tuple[str, ...]:
        rng = self.rng
        self.budget -= 1
        name = f"s{len(self.nodes) + 1}"
        single = rng.random() < 0.08
        hosts = tuple(self.hosts) if rng.random() < 0.85 else tuple(
            host for host in self.hosts if rng.random() < 0.6) or (self.hosts[-1],)
        node = ShapeNode(
            id=name, hosts=hosts[:1] if single else hosts, needs=needs, blocks=blocks, single=single,
            on_failure=rng.choice(("rollback",) * 8 + ("continue", "stop")), irreversible=rng.random() < 0.05)
        self.nodes[name] = node
        self._ends[name] = (name,)
        self._within[name] = mine
        self.text.append(f"{'  ' * depth}{name} on {' '.join(node.hosts)}{why} on_failure {node.on_failure}"
                         f"{' run_once' * single}")
        return (name,)

    def _block(self, needs: tuple[str, ...], blocks: tuple[BlockRole, ...], depth: int,
               mine: tuple[str, ...], why: str) -> tuple[str, ...]:
        self._blocks += 1
        name = f"b{self._blocks}"
        roles = self.rng.choice((("block", "rescue"), ("block", "always"), ("block", "rescue", "always"), ("block",)))
        end = needs
        for role in roles:
            self.text.append(f"{'  ' * depth}{name} {role}{why if role == 'block' else ''}:")
            end = self.container(end, (*blocks, BlockRole(name, role)), depth + 1, mine)
        self._ends[name] = end
        self._within[name] = mine
        return end
