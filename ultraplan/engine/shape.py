"""What the conductor needs to know of a compiled plan, and nothing else: ids, edges, hosts, batches, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ultraplan.graph.model import BlockRole, Graph

Key = tuple[str, str]
"""An operation: (node id, host)."""


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
    def needs(self) -> Mapping[str, tuple[str, ...]]:
        """Node id to what it waits for. A host (or a batch) that a need does not run on must not lose its own place in
        the order by that: what such a need waits for is waited for as well."""
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes.values():
            needs: dict[str, None] = {}
            todo = list(reversed(node.needs))
            while todo:
                need = todo.pop()
                if need not in needs:
                    needs[need] = None
                    if self.apart(need, node.id):
                        todo += reversed(self.nodes[need].needs)
            found[node.id] = tuple(needs)
        return found

    @cached_property
    def successors(self) -> Mapping[str, tuple[str, ...]]:
        """Node id to the nodes that wait for it directly."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node, needs in self.needs.items():
            for need in needs:
                found[need].append(node)
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

    def barrier(self, need: str, node: str) -> bool:
        """Whether this edge holds all hosts back until all are through, rather than (strategy free) each for itself."""
        return not self.free or self.nodes[need].single or self.nodes[node].single

    def apart(self, need: str, node: str) -> tuple[str, ...]:
        """The hosts of ``node`` that ``need`` does not run on."""
        before, after = self.nodes[need].hosts, self.nodes[node].hosts
        return () if before == after else tuple(host for host in after if host not in before)

    def tied(self, key: Key, later: Key) -> bool:
        """Whether ``later``, which comes after ``key`` in the graph, rests on this very operation: not so where its own
        host has the same step."""
        one, other = self.nodes[key[0]], self.nodes[later[0]]
        return key[1] == later[1] or one.single or other.single or later[1] not in one.hosts

    @cached_property
    def each_for_itself(self) -> bool:
        """Whether no host ever waits for another."""
        hosts = {node.hosts for node in self.nodes.values()}
        return self.free and len(hosts) < 2 and not any(node.single for node in self.nodes.values())

    def place(self, node: str, host: str) -> Key | None:
        """The operation by which ``node`` is done for ``host``: there, or (where it runs once) on a host of the same
        batch; None where it is not."""
        found = self.nodes[node]
        if host in found.hosts:
            return node, host
        if found.single and found.hosts and self.batch_of(found.hosts[0]) == self.batch_of(host):
            return node, found.hosts[0]
        return None

    def batch_of(self, host: str) -> int:
        """The batch that ``host`` is in, from 0."""
        return self._batch_index.get(host, 0)

    @cached_property
    def _batch_index(self) -> Mapping[str, int]:
        return {host: index for index, batch in enumerate(self.batches) for host in batch}

    @cached_property
    def partial(self) -> tuple[ShapeNode, ...]:
        """The nodes that do not run on every host, or once for all."""
        everywhere = sum(len(batch) for batch in self.batches)
        return tuple(node for node in self.nodes.values() if node.single or len(node.hosts) < everywhere)

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
