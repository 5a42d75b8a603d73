"""Where a run stands at a moment, step by step and host by host: what the live view draws. Knows no terminal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from ultraplan.cli.views.text import counted, lasting, some
from ultraplan.engine.run import Run
from ultraplan.engine.states import SETTLED, UNDER_WAY, OpState
from ultraplan.graph.model import Node

Key = tuple[str, str]

ACTIVE, ENDED, AHEAD = "active", "ended", "ahead"
"""Kinds of rows: something is under way or went wrong; all is settled; nothing has begun."""

_DONE_WORDS = {
    OpState.VERIFIED: "done", OpState.UNCHANGED: "unchanged", OpState.SKIPPED: "skipped", OpState.FAILED: "failed",
    OpState.IN_DOUBT: "in doubt",
}
_UNDONE_WORDS = {
    OpState.VERIFIED: "undone", OpState.SKIPPED: "nothing to undo", OpState.FAILED: "cannot be undone",
    OpState.LEFT: "left alone", OpState.IN_DOUBT: "in doubt",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the view. ``tone`` as in `ultraplan.cli.views.words.Words`; ``kind``: active, ended or ahead."""

    mark: str
    name: str
    text: str
    tone: str
    kind: str


@dataclass(frozen=True, slots=True)
class Board:
    """A moment of a run. ``hosts``: those that are at something, the slowest first, then the others."""

    head: str
    steps: Sequence[Row]
    hosts: Sequence[Row]


class _Working(NamedTuple):
    """An operation under way; ``since`` by the view's clock."""

    key: Key
    direction: str
    since: float


@dataclass
class _Moment:
    """What the conductor knew when it was asked, so that its lock is held for a copy only."""

    forward: Mapping[Key, OpState]
    reverse: Mapping[Key, OpState]
    unwinding: Mapping[str, object]
    going_back: bool
    stopping: bool
    now: float
    batch: int = 0
    working: list[_Working] = field(default_factory=list)             # the oldest first
    of_node: dict[str, list[_Working]] = field(default_factory=dict)  # the same by node
    to_undo: Counter[str] = field(default_factory=Counter)            # host -> its undos that have not begun
    failed: dict[str, str] = field(default_factory=dict)              # host -> a node that failed on it
    holding: dict[str, str] = field(default_factory=dict)             # node -> what its hosts wait for, once known


class Progress:
    """Follows one run. ``clock`` gives seconds."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self._clock = run, clock
        self._began = clock()
        self._since: dict[tuple[Key, str], float] = {}
        self._told: dict[Key, str] = {}
        self._lock = threading.Lock()
        self._batch_of = {host: index for index, batch in enumerate(run.graph.batches) for host in batch}
        self._runs_on = {node.id: frozenset(node.hosts) for node in run.graph.nodes.values()}
        self._batch = 0

    def told(self, node: str, host: str, text: str) -> None:
        """Something passing about an operation; shown until it ends."""
        with self._lock:
            self._told[node, host] = text

    def board(self, most_hosts: int) -> Board:
        """The run as it stands now, with at most so many host rows."""
        moment = self._look()
        steps = [self._step(node, moment) for node in self.run.graph.nodes.values()]
        return Board(self._head(moment), steps, list(islice(self._hosts(moment), most_hosts)))

    def _look(self) -> _Moment:
        run, now = self.run, self._clock()
        with run.lock:
            conductor = run.conductor
            moment = _Moment(dict(conductor.forward), dict(conductor.unwind.state), dict(conductor.unwinding),
                             conductor.going_back is not None, run.stopping.is_set(), now)
        under_way = [(key, "reverse") for key, state in moment.reverse.items() if state in UNDER_WAY]
        under_way += [(key, "forward") for key, state in moment.forward.items()
                      if state in UNDER_WAY and (key[1] not in moment.unwinding)]
        with self._lock:
            self._since = {each: self._since.get(each, now) for each in under_way}
            busy = {key for key, _ in under_way}
            self._told = {key: text for key, text in self._told.items() if key in busy}
            moment.working = sorted((_Working(*each, since) for each, since in self._since.items()),
                                    key=lambda one: one.since)
        for one in moment.working:
            moment.of_node.setdefault(one.key[0], []).append(one)
        moment.to_undo = Counter(key[1] for key, state in moment.reverse.items() if state is OpState.PENDING)
        moment.failed = {key[1]: key[0] for key, state in moment.forward.items() if state is OpState.FAILED}
        moment.batch = self._batch = self._current_batch(moment)
        return moment

    def _current_batch(self, moment: _Moment) -> int:
        """The first batch in which something is left to do; batches never go back."""
        batches = self.run.graph.batches
        for index in range(self._batch, len(batches)):
            for node, hosts in self._runs_on.items():
                if any(host in hosts and not _over((node, host), moment) for host in batches[index]):
                    return index
        return max(0, len(batches) - 1)

    # -- the head -----------------------------------------------------------------------------------------------

    def _head(self, moment: _Moment) -> str:
        graph = self.run.graph
        parts = [f"{graph.document.name}  {self.run.id}", lasting(moment.now - self._began),
                 counted(len(graph.hosts), "host")]
        if len(graph.batches) > 1 and not moment.going_back:
            parts.append(f"batch {moment.batch + 1} of {len(graph.batches)}")
        if moment.going_back:
            parts.append("going back")
        elif moment.unwinding:
            parts.append(f"{counted(len(moment.unwinding), 'host')} going back")
        if moment.stopping:
            parts.append("stopping")
        return "  ·  ".join(parts)

    # -- steps --------------------------------------------------------------------------------------------------

    def _step(self, node: Node, moment: _Moment) -> Row:
        reverse = {key: moment.reverse[key] for host in node.hosts if (key := (node.id, host)) in moment.reverse}
        back = [host for host in node.hosts if host in moment.unwinding]
        forward = Counter(moment.forward.get((node.id, host), OpState.PENDING)
                          for host in node.hosts if (node.id, host) not in reverse)
        parts = [f"{count} {word}" for state, word in _DONE_WORDS.items() if (count := forward[state])]
        undone = Counter(reverse.values())
        parts += [f"{count} {word}" for state, word in _UNDONE_WORDS.items() if (count := undone[state])]
        to_undo = undone[OpState.PENDING]
        if to_undo:
            parts.append(f"{to_undo} to undo")
        mine = moment.of_node.get(node.id, [])
        parts += self._at_it(mine, moment)
        bad = (forward[OpState.FAILED] + forward[OpState.IN_DOUBT] + undone[OpState.FAILED] + undone[OpState.LEFT]
               + undone[OpState.IN_DOUBT])
        waiting = [host for host in node.hosts if host not in back
                   and moment.forward.get((node.id, host), OpState.PENDING) is OpState.PENDING]
        if mine:
            if waiting:
                parts.append(f"{len(waiting)} waiting")
            return Row("↺" if mine[0].direction == "reverse" else "▸", node.id, ", ".join(parts), "work", ACTIVE)
        if waiting and not moment.going_back:
            parts.append(self._waits_for(node, waiting, moment))
            if not bad and parts[:-1] and all(self._batch_of.get(host, 0) > moment.batch for host in waiting):
                return Row("✓", node.id, ", ".join(parts), "quiet", ENDED)
            return Row("✗" if bad else "·", node.id, ", ".join(filter(None, parts)), "bad" if bad else "quiet", AHEAD)
        if bad:
            return Row("✗", node.id, ", ".join(parts), "bad", ACTIVE)
        if to_undo:
            return Row("·", node.id, ", ".join(parts), "quiet", AHEAD)
        if reverse:
            return Row("↺", node.id, ", ".join(parts), "good", ENDED)
        return Row("✓" if parts else "·", node.id, ", ".join(parts) or "not begun", "good" if parts else "quiet", ENDED)

    def _at_it(self, mine: Sequence[_Working], moment: _Moment) -> Iterator[str]:
        for direction, word in (("forward", "working"), ("reverse", "undoing")):
            here = [one for one in mine if one.direction == direction]
            if here:
                slowest, since = here[0].key[1], lasting(moment.now - here[0].since)
                yield (f"{word} on {slowest} {since}" if len(here) == 1
                       else f"{len(here)} {word} (longest: {slowest} {since})")

    def _waits_for(self, node: Node, waiting: Sequence[str], moment: _Moment) -> str:
        """What holds the step back: earlier steps (a barrier over hosts), an earlier batch, or only a free worker."""
        if all(self._batch_of.get(host, 0) > moment.batch for host in waiting):
            return f"{len(waiting)} after batch {moment.batch + 1}"
        if node.id not in moment.holding:
            moment.holding[node.id] = self._held_by(node, moment)
        return moment.holding[node.id] or f"{len(waiting)} waiting"

    def _held_by(self, node: Node, moment: _Moment) -> str:
        for need in node.needs:
            left = [host for host in self.run.graph.nodes[need].hosts
                    if self._batch_of.get(host, 0) == moment.batch and not _over((need, host), moment)]
            if left:
                return f"waits for {need} on {some(left)}"
        return ""

    # -- hosts --------------------------------------------------------------------------------------------------

    def _hosts(self, moment: _Moment) -> Iterator[Row]:
        busy: set[str] = set()
        for key, direction, since in moment.working:
            node, host = key
            busy.add(host)
            text = f"{'undoing' if direction == 'reverse' else ''} {node} {lasting(moment.now - since)}".strip()
            with self._lock:
                passing = self._told.get(key)
            yield Row("↺" if direction == "reverse" else "▸", host, f"{text}: {passing}" if passing else text,
                      "work", ACTIVE)
        for host in self.run.graph.hosts:
            if host not in busy:
                yield self._idle(host, moment)

    def _idle(self, host: str, moment: _Moment) -> Row:
        if host in moment.unwinding:
            left = moment.to_undo[host]
            return (Row("·", host, f"{counted(left, 'step')} to undo, waits for the other hosts", "quiet", AHEAD)
                    if left else Row("↺", host, "back as it was", "good", ENDED))
        if host in moment.failed:
            return Row("✗", host, f"{moment.failed[host]} failed", "bad", ENDED)
        for node in self.run.graph.nodes.values():
            if host in self._runs_on[node.id] and not _over((node.id, host), moment):
                return Row("·", host, f"{node.id} {self._waits_for(node, [host], moment)}", "quiet", AHEAD)
        return Row("✓", host, "done", "good", ENDED)


def _over(key: Key, moment: _Moment) -> bool:
    """Whether nothing more happens to an operation on the way forward."""
    return key[1] in moment.unwinding or moment.forward.get(key) in SETTLED
