"""What earlier steps of the same plan would change, so that later predictions do not promise too much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ultraplan.steps.base import Change


@dataclass(frozen=True, slots=True)
class _Pending:
    """A change that an earlier node would make on a host. ``touches`` None: it may reach anything."""

    node: str
    kind: str
    resources: tuple[str, ...]
    touches: tuple[str, ...] | None
    after: Mapping[str, Any] | None


class Overlay:
    """Grows in the graph's order while the predictions are made."""

    def __init__(self) -> None:
        self._pending: dict[str, list[_Pending]] = {}

    def anything(self, node: str, host: str) -> None:
        """``node`` would run something that can reach anything on ``host``."""
        self._pending.setdefault(host, []).append(_Pending(node, "", (), None, None))

    def change(self, node: str, host: str, kind: str, touched: tuple[str, ...], change: Change) -> None:
        """``node`` would make ``change`` to ``touched`` on ``host``."""
        self._pending.setdefault(host, []).append(
            _Pending(node, kind, touched, change.touches or touched, change.after))

    def expected(self, host: str, kind: str, touched: tuple[str, ...]) -> tuple[Mapping[str, Any], str] | None:
        """The facts that the last earlier step of the same type leaves, and that step; None where there is none."""
        for pending in reversed(self._pending.get(host, [])):
            if pending.kind == kind and pending.after is not None and set(touched) <= set(pending.resources):
                return pending.after, pending.node
        return None

    def doubts(self, host: str, touched: tuple[str, ...]) -> tuple[str, ...]:
        """The earlier nodes that may change what was observed of ``touched`` on ``host``."""
        return tuple(dict.fromkeys(
            pending.node for pending in self._pending.get(host, [])
            if pending.touches is None or _meet(pending.touches, touched)))


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return any(_same(a, b) for a in one for b in other)


def _same(a: str, b: str) -> bool:
    """Whether two resources are the same, or one is a tree (``tree:/srv``) that holds the other (``path:/srv/x``)."""
    kind_a, _, name_a = a.partition(":")
    kind_b, _, name_b = b.partition(":")
    if {kind_a, kind_b} <= {"path", "tree"}:
        if name_a == name_b:
            return True
        holds = kind_a == "tree" and name_b.startswith(name_a.rstrip("/") + "/")
        held = kind_b == "tree" and name_a.startswith(name_b.rstrip("/") + "/")
        return holds or held
    return a == b
