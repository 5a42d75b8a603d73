"""What the conductor needs to know of a compiled plan, and nothing else: ids, edges, hosts, batches, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ultraplan.graph.model import BlockRole, Graph


@dataclass(frozen=True, slots=True)
class ShapeNode:
    """A node as the conductor sees it. ``single``: it runs once for all hosts."""

    id: str
    hosts: tuple[str, ...]
    needs: tuple[str, ...]
    blocks: tuple[BlockRole, ...] = ()
    on_failure: str = "rollback"
    irreversible: bool = False
    single: bool = False


@dataclass(frozen=True)
class Shape:
    """``nodes`` in topological order."""

    nodes: Mapping[str, ShapeNode]
    batches: tuple[tuple[str, ...], ...]
    free: bool = False
    max_fail_percentage: float = 0.0
    max_unreachable_percentage: float = 0.0
    rollback_scope: str = "run"

    @cached_property
    def successors(self) -> Mapping[str, tuple[str, ...]]:
        """Node id to the nodes that wait for it directly."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for need in node.needs:
                found[need].append(node.id)
        return {name: tuple(after) for name, after in found.items()}

    @cached_property
    def _reach(self) -> Mapping[str, int]:
        # An integer a node, a bit for each node after it: 10,000 nodes in a tenth of a second; sets need gigabytes.
        bit = {name: 1 << index for index, name in enumerate(self.nodes)}
        found: dict[str, int] = {}
        for name in reversed(list(self.nodes)):
            mask = 0
            for after in self.successors[name]:
                mask |= bit[after] | found[after]
            found[name] = mask
        return found

    @cached_property
    def _bit(self) -> Mapping[str, int]:
        return {name: 1 << index for index, name in enumerate(self.nodes)}

    def follows(self, later: str, earlier: str) -> bool:
        """Whether ``later`` comes after ``earlier`` in the graph."""
        return bool(self._reach[earlier] & self._bit[later])

    @cached_property
    def members(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """(block, role) to the nodes in that part of the block, at any depth."""
        found: dict[tuple[str, str], list[str]] = {}
        for node in self.nodes.values():
            for around in node.blocks:
                found.setdefault((around.block, around.role), []).append(node.id)
        return {key: tuple(ids) for key, ids in found.items()}


def shape_of(graph: Graph) -> Shape:
    """The shape of a compiled plan."""
    return Shape(
        nodes={
            node.id: ShapeNode(
                id=node.id, hosts=node.hosts, needs=node.needs, blocks=node.blocks,
                on_failure=str(node.step.on_failure), irreversible=node.step.irreversible is not None,
                single=node.step.run_once)
            for node in graph.nodes.values()},
        batches=graph.batches,
        free=graph.strategy == "free",
        max_fail_percentage=graph.max_fail_percentage,
        max_unreachable_percentage=graph.max_unreachable_percentage,
        rollback_scope=str(graph.rollback_scope))
