"""What ``block``, ``rescue`` and ``always`` make of failures. Pure questions about states; nothing is kept here.

A step that runs once stands for every host of its batch: its failure breaks the block everywhere, and as a rescue it
answers for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import product

from ultraplan.engine.shape import Key, Shape, ShapeNode
from ultraplan.engine.states import SETTLED, OpState

BROKEN = "an earlier step of the block failed"
"""Why an operation is not needed after a failure in its part of a block."""


class Blocks:
    """``states``: the forward operations', ``needless``: those skipped because of `BROKEN`, as the conductor goes on
    keeping them."""

    def __init__(self, shape: Shape, states: Mapping[Key, OpState], needless: Set[Key]) -> None:
        self._shape, self._states, self._needless = shape, states, needless

    def fatal(self, key: Key) -> bool:
        """Whether this failure reaches the run: no rescue took it, and every ``always`` on its way out has ended."""
        node = self._shape.nodes[key[0]]
        if node.on_failure == "continue":
            return False
        for around in reversed(node.blocks):
            if around.role == "block" and any(True for _ in self._part(around.block, "rescue", key[1])):
                return False  # the rescue answers for it; where the rescue fails, that failure is the fatal one
            if around.role != "always" and not self._over(around.block, "always", key[1]):
                return False
        return True

    def not_needed(self, key: Key) -> str | None:
        """Why the blocks around an operation make it needless on its host, or None."""
        node, host = self._shape.nodes[key[0]], key[1]
        for depth, around in enumerate(node.blocks):
            if around.role == "rescue" and not any(
                    self._broken(around.block, "block", one) for one in self._stands_for(node, host)):
                return "nothing to rescue"
            if self._broken(around.block, around.role, host, besides=key) and not any(
                    inner.role == "always" and self._entered(inner.block, host) for inner in node.blocks[depth + 1:]):
                return BROKEN
        return None

    def closes(self, key: Key) -> bool:
        """Whether an operation belongs to the ``always`` of a block in which something failed on its host."""
        node, host = self._shape.nodes[key[0]], key[1]
        return any(around.role == "always" and any(
            self._states.get(one) is OpState.FAILED for part in ("block", "rescue")
            for one in self._part(around.block, part, host)) for around in node.blocks)

    def unfinished(self, hosts: Set[str]) -> Iterator[Key]:
        """On ``hosts``: the ``always`` steps of blocks in which something failed there, and what is not needed any more
        because of it, as far as it has not ended."""
        for node in self._shape.nodes.values():
            for host in node.hosts if node.blocks else ():
                key = (node.id, host)
                if host in hosts and self._states.get(key) not in SETTLED and (
                        self.closes(key) or self.not_needed(key) == BROKEN):
                    yield key

    def holds(self, key: Key) -> bool:
        """Whether an operation outside of a broken block, which needs a step inside, has to wait for what its rescue
        and always steps make of the failure."""
        node, host = self._shape.nodes[key[0]], key[1]
        mine = {around.block for around in node.blocks}
        for need in node.needs:
            before = self._shape.nodes[need]
            places = [host] if before.single or host in before.hosts else [
                other for other in before.hosts if self._shape.batch_of(other) == self._shape.batch_of(host)]
            for around, place in product(before.blocks, places):
                if around.block in mine or not self._broken(around.block, around.role, place):
                    continue
                if any(self._states.get(one) not in SETTLED and not self._shape.follows(one[0], key[0])
                       for role in ("rescue", "always") for one in self._part(around.block, role, place)):
                    return True
        return False

    def _broken(self, block: str, role: str, host: str, besides: Key | None = None) -> bool:
        """Whether a failure inside this part of the block on this host left it (was not rescued further in)."""
        for key in self._part(block, role, host):
            if key == besides:
                continue
            if key[1] != host and key in self._needless:
                return True  # what should have run once for all did not
            if self._states.get(key) is not OpState.FAILED:
                continue
            node = self._shape.nodes[key[0]]
            if node.on_failure == "continue":
                continue
            inner = node.blocks[[around.block for around in node.blocks].index(block) + 1:]
            if not any(one.role == "block" and any(True for _ in self._part(one.block, "rescue", host))
                       and not self._broken(one.block, "rescue", host) for one in inner):
                return True
        return False

    def _entered(self, block: str, host: str) -> bool:
        """Whether anything of the block was begun on this host."""
        return any(self._states.get(key, OpState.PENDING) not in (OpState.PENDING, OpState.SKIPPED)
                   for role in ("block", "rescue") for key in self._part(block, role, host))

    def _over(self, block: str, role: str, host: str) -> bool:
        return all(self._states.get(key) in SETTLED for key in self._part(block, role, host))

    def _part(self, block: str, role: str, host: str) -> Iterator[Key]:
        """The operations of a part of a block that run on ``host`` or for it."""
        for name in self._shape.members.get((block, role), ()):
            key = self._shape.place(name, host)
            if key is not None:
                yield key

    def _stands_for(self, node: ShapeNode, host: str) -> tuple[str, ...]:
        return self._shape.batches[self._shape.batch_of(host)] if node.single else (host,)
