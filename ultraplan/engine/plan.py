"""What would happen, as a value: a prediction for each node and host, and what a reviewer has to know of the whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ultraplan.graph.model import Graph
from ultraplan.steps.base import Diff

Key = tuple[str, str]


class Certainty(StrEnum):
    """How far a prediction can be trusted. KNOWN ones hold at apply, or the step fails."""

    KNOWN = "known"
    CONDITIONAL = "conditional"
    OPAQUE = "opaque"


class Action(StrEnum):
    """What a step would do on a host."""

    CHANGE = "change"      # the diff says what
    RUN = "run"            # a person's program: its effect cannot be foretold
    CHECK = "check"        # looks, waits or asks; changes nothing
    NOTHING = "nothing"    # as wanted already
    SKIP = "skip"          # its condition does not hold
    UNDECIDED = "undecided"  # known only after an earlier step
    IMPOSSIBLE = "impossible"  # as the host is, the step would fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one node would do on one host.

    ``because``: for anything but KNOWN, what it depends on. ``before``: the fingerprint of the facts that it will find.
    ``way_back``: in a few words. ``down``: what is unavailable for a while.
    """

    node: str
    host: str
    action: Action
    certainty: Certainty
    summary: str = ""
    because: str = ""
    diff: tuple[Diff, ...] = ()
    way_back: str = ""
    before: str | None = None
    down: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether something would (or may) be different afterwards."""
        return self.action in (Action.CHANGE, Action.RUN, Action.UNDECIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The preview of a run. ``run``: the id that the run will have. ``digests``: path or name to SHA-256 of what went
    in.

    ``no_return``: the first irreversible node that would run, if any. ``unreachable``: host to why.
    ``warnings``: for the reviewer, a sentence each.
    """

    run: str
    created: float
    graph: Graph
    predictions: Mapping[Key, Prediction]
    digests: Mapping[str, str] = field(default_factory=dict)
    no_return: str | None = None
    unreachable: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Action, int]:
        """How many predictions there are of each action."""
        return Counter(prediction.action for prediction in self.predictions.values())

    @property
    def has_changes(self) -> bool:
        """Whether anything would or may change."""
        return any(prediction.changes for prediction in self.predictions.values())

    @property
    def impossible(self) -> tuple[Prediction, ...]:
        """What would surely fail."""
        return tuple(p for p in self.predictions.values() if p.action is Action.IMPOSSIBLE)

    @property
    def most_down(self) -> int:
        """The largest number of hosts on which the same step takes something down at once."""
        found = [0]
        for node in self.graph.nodes.values():
            for batch in self.graph.batches:
                found.append(sum(1 for host in batch
                                 if (p := self.predictions.get((node.id, host))) is not None and p.down))
        return max(found)

    @property
    def summary(self) -> str:
        """One line: what would happen, where."""
        names = {Action.CHANGE: "to change", Action.RUN: "to run", Action.UNDECIDED: "known only during the run",
                 Action.CHECK: "to check", Action.NOTHING: "unchanged", Action.SKIP: "skipped",
                 Action.IMPOSSIBLE: "impossible"}
        counts = self.counts
        parts = [f"{counts[action]} {words}" for action, words in names.items() if counts.get(action)]
        hosts = len(self.graph.hosts)
        where = f"on {hosts} host{'s' * (hosts != 1)}"
        if self.unreachable:
            where += f", {len(self.unreachable)} of them not reached"
        nothing = "nothing is known" if len(self.unreachable) == hosts else "nothing to do"
        return f"{', '.join(parts) or nothing}, {where}"


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of facts in their canonical JSON."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
