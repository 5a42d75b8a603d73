"""What may start next in the batch that is under way: counters, so that an event costs what it touches and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ultraplan.engine.shape import Key, Shape, ShapeNode


@dataclass(slots=True)
class Frontier:
    """``hosts``: the batch. ``unsettled``: its operations that are not settled. ``open``: what may start, in order.

    An edge holds a node back on all hosts (a barrier), or, with strategy free, each host for itself; a host that the
    earlier step does not run on then waits for all that do.
    """

    shape: Shape
    hosts: frozenset[str] = frozenset()
    unsettled: int = 0
    open: dict[Key, None] = field(default_factory=dict)
    _left: dict[str, int] = field(default_factory=dict)        # node -> operations that are not settled
    _node_waits: dict[str, int] = field(default_factory=dict)  # node -> barriers that hold it
    _host_waits: dict[Key, int] = field(default_factory=dict)  # unsettled operation -> what holds this host alone

    def fill(self, hosts: frozenset[str], over: Callable[[Key], bool], startable: Callable[[Key], bool]) -> None:
        """Begin with a batch, or anew with the same. ``over``: nothing (more) is to happen for an operation.
        ``startable``: it has not begun."""
        self.hosts = hosts
        self.open.clear()
        self._host_waits.clear()
        waiting: dict[str, list[Key]] = {}
        for node in self.shape.nodes.values():
            waiting[node.id] = [(node.id, host) for host in node.hosts if host in hosts and not over((node.id, host))]
            self._left[node.id] = len(waiting[node.id])
        self.unsettled = sum(self._left.values())
        for node in self.shape.nodes.values():
            barriers = [need for need in self.shape.needs[node.id] if self.shape.barrier(need, node.id)]
            others = [self.shape.nodes[need] for need in self.shape.needs[node.id]
                      if not self.shape.barrier(need, node.id)]
            self._node_waits[node.id] = sum(self._left[need] > 0 for need in barriers)
            for key in waiting[node.id]:
                self._host_waits[key] = sum(self._holds(need, key[1], over) for need in others)
                if startable(key):
                    self.offer(key)

    def _holds(self, need: ShapeNode, host: str, over: Callable[[Key], bool]) -> bool:
        return not over((need.id, host)) if host in need.hosts else self._left[need.id] > 0

    def offer(self, key: Key) -> bool:
        """Open an operation, if nothing holds it back; whether nothing did."""
        free = self._host_waits.get(key) == 0 and self._node_waits[key[0]] == 0
        if free:
            self.open[key] = None
        return free

    def waits_only_for(self, chain: Sequence[Key], key: Key) -> bool:
        """Whether ``key`` may start once ``chain``, operations of its host, is settled, and no sooner."""
        waits = self._host_waits.get(key)
        if waits is None:
            return False
        barriers = alone = 0
        for node, _ in chain:
            if node not in self.shape.needs[key[0]]:
                continue
            if not self.shape.barrier(node, key[0]):
                alone += 1
            elif self._left[node] == 1:  # this very host's; a barrier that others hold is held longer
                barriers += 1
        return waits == alone and self._node_waits[key[0]] == barriers

    def settle(self, key: Key, startable: Callable[[Key], bool]) -> None:
        """Nothing more happens for an operation: what waited for it may start."""
        node, host = key
        if self._host_waits.pop(key, None) is None:
            return
        self.open.pop(key, None)
        self._left[node] -= 1
        self.unsettled -= 1
        last = self._left[node] == 0
        for later in self.shape.successors[node]:
            if not self.shape.barrier(node, later):
                self._release((later, host), startable)
                if last:
                    for other in self.shape.apart(node, later):
                        self._release((later, other), startable)
            elif last:
                self._node_waits[later] -= 1
                if self._node_waits[later] == 0:
                    for other in self.shape.nodes[later].hosts:
                        if startable((later, other)):
                            self.offer((later, other))

    def _release(self, key: Key, startable: Callable[[Key], bool]) -> None:
        if key in self._host_waits:
            self._host_waits[key] -= 1
            if startable(key):
                self.offer(key)
