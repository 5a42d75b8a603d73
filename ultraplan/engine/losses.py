"""What failures cost a run: which hosts they lose it, and whether its budgets allow for them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ultraplan.engine.blocks import Blocks
from ultraplan.engine.shape import Key, Shape
from ultraplan.engine.states import OpState
from ultraplan.journal.events import Failed

_FINE = frozenset({OpState.SKIPPED, OpState.UNCHANGED, OpState.VERIFIED})


class Losses:
    """``states``: the forward operations', as the conductor goes on keeping them."""

    def __init__(self, shape: Shape, states: Mapping[Key, OpState], blocks: Blocks) -> None:
        self._shape, self._states, self._blocks = shape, states, blocks
        self.failures: dict[Key, Failed] = {}
        """The operations that failed, as far as they were not begun anew."""
        self._taken: dict[str, Failed] = {}     # host -> the failure that made it go back

    @property
    def any_host(self) -> bool:
        """Whether a failure made a host go back."""
        return bool(self._taken)

    def fatal(self, back: Collection[str]) -> dict[str, Key]:
        """Hosts that should go back and do not (``back``: those that do), each with the failure for which it should."""
        found: dict[str, Key] = {}
        for key in self.failures:
            if (key[1] not in found and key[1] not in back and self._states[key] is OpState.FAILED
                    and self._blocks.fatal(key)):
                found[key[1]] = key
        return found

    def took(self, hosts: Collection[str], back: Collection[str]) -> None:
        """It was decided that ``hosts`` go back; before that, ``back`` did."""
        for host, key in self.fatal(back).items():
            if host in hosts:
                self._taken[host] = self.failures[key]

    def took_none(self, host: str) -> None:
        """``host`` goes forward again."""
        self._taken.pop(host, None)

    def within_budget(self, batch: frozenset[str], fatal: Mapping[str, Key]) -> bool:
        """Whether the batch's failures, with those in ``fatal``, stay within the plan's budgets, counted against the
        batch's original size.

        They do not where every host failed, or all those on which a step was to run on which others rest.
        """
        lost = {host: failure for host, failure in self._taken.items() if host in batch}
        lost.update((host, self.failures[key]) for host, key in fatal.items())
        if not lost:
            return True
        away = 100 * sum(failure.unreachable for failure in lost.values()) / len(batch)
        failed = 100 * sum(not failure.unreachable for failure in lost.values()) / len(batch)
        missing = any(
            hosts <= lost.keys() and not any(self._did(node, host) for host in hosts)
            for node, hosts in ((node.id, batch.intersection(node.hosts)) for node in self._shape.partial) if hosts)
        return (failed <= self._shape.max_fail_percentage and away <= self._shape.max_unreachable_percentage
                and len(lost) < len(batch) and not missing)

    def _did(self, node: str, host: str) -> bool:
        state = self._states.get((node, host))
        return state in _FINE or (state is OpState.FAILED and not self._blocks.fatal((node, host)))
