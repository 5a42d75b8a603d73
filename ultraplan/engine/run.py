"""One run under way: its journal, its conductor, what later steps know of earlier ones, and who is listening."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ultraplan.engine.conduct import Conductor
from ultraplan.engine.faults import fault
from ultraplan.engine.fleet import Fleet
from ultraplan.engine.operations import Result, op_id
from ultraplan.engine.receipts import RunHere
from ultraplan.engine.resolve import Resolver
from ultraplan.engine.scope import Scope
from ultraplan.engine.shape import Key
from ultraplan.engine.states import OpState
from ultraplan.engine.telling import InOrder
from ultraplan.graph.model import Graph, Node
from ultraplan.journal.base import Lease, Store
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    Intent,
    OpEvent,
    Outcome,
    Prepared,
    Record,
    Resolved,
    RollbackDecided,
    Skipped,
    Started,
    Unchanged,
    Verified,
)

Telling = Callable[[str, str, str], None]
"""(node, host, text): something passing, such as the wait for another attempt. Not journaled."""


class Stopped(Exception):
    """The run is being stopped or the operation may not begin any more: nothing was done by it."""


@dataclass
class Run:
    """``promises``: fingerprints that known predictions rest on, by (node, host).

    ``stopping`` is set for an orderly stop (Ctrl-C): effects under way end, nothing new begins.
    """

    id: str
    graph: Graph
    store: Store
    lease: Lease
    conductor: Conductor
    fleet: Fleet
    resolver: Resolver
    scope: Scope
    promises: Mapping[Key, str] = field(default_factory=dict)
    telling: InOrder = field(default_factory=lambda: InOrder(()))
    tell: Telling = lambda node, host, text: None
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._attempts: dict[tuple[str, str], int] = {}
        self._intents: dict[str, Record] = {}
        self._left: dict[Key, Mapping[str, Any] | None] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}     # of the last attempt, once it ended
        self._resolved: dict[tuple[str, str], bool] = {}        # what a person said of the last attempt
        self._may_have_begun: set[str] = set()
        self._spent: dict[str, int] = {}

    @property
    def here(self) -> RunHere:
        """What hosts have to know of the run."""
        return RunHere(self.id, self.lease.epoch)

    def op(self, node: str, host: str) -> str:
        """The operation's id."""
        return op_id(self.id, node, host)

    # -- the journal --------------------------------------------------------------------------------------------

    def write(self, *events: AnyEvent) -> None:
        """Make ``events`` durable, then let the conductor, later steps and listeners know."""
        fault("before-write")
        self.take_in(self.store.append(self.id, events, self.lease))
        if any(isinstance(event, RollbackDecided) for event in events):
            fault("after-rollback-decided")

    def take_in(self, records: Iterable[Record]) -> None:
        """Records that are durable: just written, or read from the journal of an earlier process."""
        records = list(records)
        with self.lock:
            for record in records:
                self.conductor.record(record.event, record.seq)
                self._note(record)
        self.telling.take(records)

    def _note(self, record: Record) -> None:
        event = record.event
        if not isinstance(event, OpEvent):
            return
        key = (event.node, event.host)
        if isinstance(event, Intent):
            self._intents[event.op + event.direction] = record
            self._attempts[event.op, event.direction] = event.attempt
            self._outcomes.pop((event.op, event.direction), None)
            self._resolved.pop((event.op, event.direction), None)
        if isinstance(event, Resolved):
            self._resolved[event.op, event.direction] = event.done
        if isinstance(event, Outcome):
            self._outcomes[event.op, event.direction] = event
            if event.direction == "forward" and event.began:
                (self._may_have_begun.discard if event.undone else self._may_have_begun.add)(event.op)
                self._spent[event.op] = self._spent.get(event.op, 0) + 1
        if event.direction == "reverse":
            return
        match event:
            case Skipped():
                self.scope.results[key] = Result("skipped", False, {})
            case Unchanged():
                self._result(key, "unchanged", event.outputs)
            case Verified():
                changed = (event.op + "forward") in self._intents
                self._result(key, "changed" if changed else "unchanged", event.outputs)
                self._left[key] = event.left
            case Failed():
                self._spent[event.op] = 0
                self.scope.results[key] = Result("failed", event.effect, {})
            case Resolved():
                self._spent[event.op] = 0
                if event.done:
                    self._result(key, "changed", {})
            case _:
                pass

    def _result(self, key: Key, status: str, outputs: Mapping[str, Any]) -> None:
        self.scope.results[key] = Result(status, status == "changed", outputs)
        if self.fleet.registry[self.graph.nodes[key[0]].step.type].sets_facts:
            self.scope.facts_set.setdefault(key[1], {}).update(outputs)

    # -- what is known ------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The graph's node."""
        return self.graph.nodes[name]

    def next_attempt(self, op: str, direction: str) -> int:
        """The number of the operation's next attempt, from 1."""
        with self.lock:
            return self._attempts.get((op, direction), 0) + 1

    def last_intent(self, op: str, direction: str) -> tuple[Intent, float] | None:
        """The operation's last INTENT and when it became durable (Unix seconds)."""
        with self.lock:
            record = self._intents.get(op + direction)
        return (record.event, record.time) if record is not None else None  # type: ignore[return-value]

    def outcome(self, op: str, direction: str) -> Outcome | None:
        """How the operation's last attempt in this direction ended; None where the journal does not know."""
        with self.lock:
            return self._outcomes.get((op, direction))

    def resolved(self, op: str, direction: str) -> bool | None:
        """What a person said of the last attempt: it was done, it was not, or (None) nothing."""
        with self.lock:
            return self._resolved.get((op, direction))

    def may_have_begun(self, op: str) -> bool:
        """Whether a forward attempt that ended may have begun on the host, and so left something there: something that
        the host has not undone by itself."""
        with self.lock:
            return op in self._may_have_begun

    def may_have_happened(self, op: str) -> bool:
        """Whether a forward effect may have begun: it was intended, and not every attempt is known never to have."""
        with self.lock:
            ended = self._outcomes.get((op, "forward")) is not None
            return op + "forward" in self._intents and (not ended or op in self._may_have_begun)

    def ahead(self, key: Key, fits: Callable[[str], bool], most: int) -> list[Key]:
        """``key`` and what may be sent to its host together with it (see `Conductor.ahead`)."""
        with self.lock:
            return self.conductor.ahead(key, fits, most)

    def spent(self, op: str) -> int:
        """Forward attempts that failed since the operation was begun, or given up and begun anew: tries used up."""
        with self.lock:
            return self._spent.get(op, 0)

    def way_back(self, key: Key) -> Prepared | None:
        """The way back that was made durable before the operation's first effect."""
        with self.lock:
            return self.conductor.unwind.way_of(key)

    def state(self, key: Key) -> OpState:
        """Where the forward operation stands."""
        with self.lock:
            return self.conductor.state(*key)

    def left(self, key: Key) -> Mapping[str, Any] | None:
        """The facts that the run left behind, where its effect was verified."""
        return self._left.get(key)

    # -- control ------------------------------------------------------------------------------------------------

    def begin(self, node: str, host: str, direction: str) -> None:
        """Work on an operation begins. Known in memory at once; durable with the operation's next event."""
        event = Started(op=self.op(node, host), node=node, host=host, direction=direction)  # type: ignore[arg-type]
        with self.lock:
            self.conductor.record(event, 0)

    def abandon(self, node: str, host: str, direction: str) -> None:
        """The operation did nothing after all and may begin again later."""
        with self.lock:
            self.conductor.abandon((node, host), direction)

    def check_may_effect(self, key: Key, direction: str) -> None:
        """Raises `Stopped` where a forward effect may not begin any more."""
        if self.stopping.is_set():
            raise Stopped
        with self.lock:
            if direction == "forward" and not self.conductor.may_effect(key):
                raise Stopped

    def may_go_on(self, key: Key) -> bool:
        """Whether what was sent ahead may still begin: the run is not being stopped, nor about to go back."""
        with self.lock:
            return not self.stopping.is_set() and self.conductor.may_effect(key)

    def sleep(self, seconds: float) -> None:
        """Wait; raises `Stopped` as soon as the run is being stopped."""
        if self.stopping.wait(seconds):
            raise Stopped

    def under_way(self) -> list[tuple[Key, str, OpState]]:
        """What began and has not ended: (operation, direction, state)."""
        with self.lock:
            forward = [(key, "forward", self.conductor.state(*key)) for key in self.conductor.under_way()]
            unwind = self.conductor.unwind
            return forward + [(key, "reverse", unwind.state[key]) for key in unwind.under_way()]
