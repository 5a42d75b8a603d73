"""What a rollback would do, said beforehand: in which order, how, and where it could not. Changes nothing anywhere.

The order is the conductor's own, played on a copy of its state. The hosts are looked at as in a preview: a host's
probes go out in one trip, and what an undo before it on the same host would put back is taken into account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ultraplan.engine.conduct import Conductor, Skip
from ultraplan.engine.differing import Facts, Hopeless, conflict, gone
from ultraplan.engine.job import Job
from ultraplan.engine.operations import op_id
from ultraplan.engine.overlay import Overlay
from ultraplan.engine.receipts import Traces
from ultraplan.engine.resolve import Resolved as Filled
from ultraplan.engine.resolve import mistake, undo_step
from ultraplan.engine.shape import Key
from ultraplan.engine.states import UNDER_WAY, OpState
from ultraplan.engine.unwind import NO_WAY_BACK
from ultraplan.journal.events import (
    Failed,
    Intent,
    OpEvent,
    Outcome,
    Prepared,
    Record,
    Resolved,
    RollbackDecided,
    Started,
    TakenOver,
    Verified,
)
from ultraplan.language.expressions import ExpressionError
from ultraplan.secrets import SecretError
from ultraplan.shell import Account, Program, Reply
from ultraplan.steps.base import HostStep, State, StepFailed
from ultraplan.transport.base import TransportError, explained


class Expected(StrEnum):
    """What would come of an undo."""

    UNDONE = "undone"
    ALREADY = "already as before"
    OPEN = "known only then"
    IRREVERSIBLE = "irreversible"
    CONFLICT = "conflict"                # somebody changed it after the run
    GONE = "pre-image gone"
    UNREACHABLE = "unreachable"
    IMPOSSIBLE = "impossible"
    DOUBT = "in doubt"                   # a person has to say first how it ended
    BEHIND = "left alone"                # something after it cannot be undone


STAYS = frozenset({Expected.IRREVERSIBLE, Expected.CONFLICT, Expected.GONE, Expected.UNREACHABLE, Expected.IMPOSSIBLE,
                   Expected.DOUBT, Expected.BEHIND})
"""What would stay as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """One operation that ran, and what a rollback would make of it. ``way``: how it is undone. ``why``: for anything
    but `Expected.UNDONE`. ``unless``: later steps whose undo may make it come out otherwise. ``facts``: ``before`` the
    run, ``left`` by it and, where it was looked at, ``now``."""

    node: str
    host: str
    type: str
    expected: Expected
    way: str = ""
    why: str = ""
    unless: tuple[str, ...] = ()
    facts: Mapping[str, Facts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A rollback, foreseen. ``undos``: in the order in which they would be tried; what would be left alone, last."""

    run: str
    undos: tuple[Undo, ...]

    def count(self, *expected: Expected) -> int:
        """How many there are of these."""
        return sum(undo.expected in expected for undo in self.undos)


@dataclass
class _Looked:
    """What one trip to a host brought. A trouble of one operation is kept in place of its state."""

    states: dict[str, State | Exception] = field(default_factory=dict)
    traces: dict[str, Traces] = field(default_factory=dict)
    unreachable: TransportError | None = None


class Foresight:
    """Foresees the rollback of one run. ``records``: its journal."""

    def __init__(self, job: Job, conductor: Conductor, records: Iterable[Record]) -> None:
        self._job, self._conductor = job, conductor
        self._left: dict[Key, Facts | None] = {}
        self._begun: set[Key] = set()       # undos that began before
        self._unknown: set[Key] = set()     # how the last attempt forward ended is not in the journal
        self._happened: set[Key] = set()    # an attempt forward that is known to have begun
        for record in records:
            conductor.record(record.event, record.seq)
            if isinstance(record.event, OpEvent):
                self._note(record.event, (record.event.node, record.event.host))
        self._overlay = Overlay()                   # what undos that come earlier put back
        self._opaque: dict[str, list[str]] = {}     # host -> those that may put back anything

    def _note(self, event: OpEvent, key: Key) -> None:
        if event.direction == "reverse":
            if isinstance(event, Intent):
                self._begun.add(key)
            return
        match event:
            case Intent():
                self._unknown.add(key)
            case Outcome():
                self._unknown.discard(key)
                if event.began:
                    self._happened.add(key)
            case Verified():
                self._unknown.discard(key)
                self._happened.add(key)
                self._left[key] = event.left
            case Resolved():
                self._unknown.discard(key)
                if event.done:
                    self._happened.add(key)
            case _:
                pass

    def foresee(self) -> Foreseen:
        """Look at the hosts, then play the way back."""
        self._turn_round()
        unwind = self._conductor.unwind
        wanted = [key for key, state in unwind.state.items() if state is not OpState.VERIFIED]
        hosts = list(dict.fromkeys(host for _, host in wanted))
        pool = ThreadPoolExecutor(max_workers=min(32, max(1, len(hosts))))
        try:
            looked = dict(zip(hosts, pool.map(
                lambda host: self._look(host, [key for key in wanted if key[1] == host]), hosts), strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a person who interrupts does not wait for silent hosts
        undos: list[Undo] = []
        while actions := self._conductor.ready():
            for action in actions:
                key = (action.node, action.host)
                about: dict[str, Any] = {"op": "", "node": key[0], "host": key[1], "direction": "reverse"}
                self._conductor.record(Started(**about), 0)
                if isinstance(action, Skip):
                    self._conductor.record(Verified(**about), 0)
                    continue
                if not self._may_have_happened(key):
                    self._conductor.record(Verified(**about), 0)
                    continue
                undo = self._undo(key, looked[key[1]])
                undos.append(undo)
                self._play(undo, about)
        waits = {OpState.LEFT: Expected.BEHIND, OpState.IN_DOUBT: Expected.DOUBT}
        undos += [self._told((one.node, one.host), waits[state], why=one.why) for one in unwind.left
                  if (state := unwind.state[one.node, one.host]) in waits]
        return Foreseen(self._job.name.id, tuple(undos))

    def _turn_round(self) -> None:
        """As `ultraplan.engine.runs.rollback` begins, in memory only."""
        conductor = self._conductor
        conductor.record(TakenOver(epoch=0, verb="rollback"), 0)
        for key in conductor.under_way():
            if conductor.state(*key) in UNDER_WAY - {OpState.STARTED, OpState.PREPARED}:
                conductor.record(Failed(op="", node=key[0], host=key[1], error="interrupted"), 0)
        if conductor.going_back is None:
            conductor.record(RollbackDecided(scope="run", cause="foreseen"), 0)

    def _may_have_happened(self, key: Key) -> bool:
        """False: every attempt is known never to have begun on its host."""
        return key in self._unknown or key in self._happened or self._conductor.unwind.irreversible(key)

    def _play(self, undo: Undo, about: Mapping[str, Any]) -> None:
        if undo.expected in STAYS:
            self._conductor.record(Failed(**about, error=undo.why), 0)
            return
        for event in (Intent(**about, attempt=1, epoch=0), Outcome(**about, ok=True, attempt=1), Verified(**about)):
            self._conductor.record(event, 0)

    # -- looking ------------------------------------------------------------------------------------------------

    def _look(self, host: str, keys: Iterable[Key]) -> _Looked:
        seen = _Looked()
        asked: dict[Account | None, list[tuple[str, Filled, HostStep[Any]]]] = {}
        for key in keys:
            try:
                resolved = self._resolved(key)
                step = resolved.on_host if resolved is not None else None
                if resolved is not None and step is not None:
                    asked.setdefault(resolved.account, []).append((key[0], resolved, step))
            except Exception as error:  # noqa: BLE001 - a step type of another package: one mistake must not hide the rest
                seen.states[key[0]] = error
        session = self._job.fleet.session(host)
        try:
            for account, steps in asked.items():
                programs: list[Program] = []
                for node, resolved, step in steps:
                    programs += [step.probe(resolved.params), session.traces(
                        self._job.name.id, self._op((node, host)), step.resources(resolved.params), account)]
                replies = session.look(programs, account)
                for (node, resolved, step), probed, kept in zip(steps, replies[::2], replies[1::2], strict=True):
                    seen.states[node] = _observed(step, resolved, probed)
                    seen.traces[node] = Traces.read(kept)
        except TransportError as error:
            seen.unreachable = error
        return seen

    def _resolved(self, key: Key) -> Filled | None:
        """What has to be looked at for an undo: the step, or the undo step that the plan declares; None for nothing."""
        prepared = self._conductor.unwind.way_of(key)
        if prepared is None or prepared.reverse is None:
            return None
        node, host = self._job.graph.nodes[key[0]], self._job.fleet.host(key[1])
        stored, step = prepared.reverse, node.step
        if "undo" in stored and step.undo is not None:
            stored, step = stored["undo"], undo_step(step, step.undo)
        return self._job.resolver.again(node, host, step, stored["params"], stored["environment"])

    # -- foreseeing ---------------------------------------------------------------------------------------------

    def _undo(self, key: Key, seen: _Looked) -> Undo:
        prepared = self._conductor.unwind.way_of(key)
        if prepared is None or prepared.way_back == NO_WAY_BACK:
            reason = self._job.graph.nodes[key[0]].step.irreversible
            return self._told(key, Expected.IRREVERSIBLE, why=f"irreversible: {reason}")
        way = self._way(key, prepared)
        earlier = tuple(self._opaque.get(key[1], ()))
        if seen.unreachable is not None:
            return self._told(key, Expected.UNREACHABLE, way, f"cannot be reached: {explained(seen.unreachable)}")
        if key in self._unknown:
            self._anything(key)
            return self._told(key, Expected.OPEN, way, "it was under way: whether it began, its host tells then")
        found = seen.states.get(key[0])
        if isinstance(found, Exception):
            known = isinstance(found, (StepFailed, SecretError, ExpressionError))
            why = str(found) if known else mistake(self._job.graph.nodes[key[0]].step.type, found)
            self._anything(key)
            return self._told(key, Expected.OPEN if earlier else Expected.IMPOSSIBLE, way, why, unless=earlier)
        if found is not None and "undo" not in (prepared.reverse or {}):
            return self._restored(key, prepared, found, way, seen)
        self._anything(key)
        return self._told(key, Expected.UNDONE, way if found is None else f"{way}{self._declared(key, found)}")

    def _anything(self, key: Key) -> None:
        """What its undo changes on its host cannot be foretold."""
        self._opaque.setdefault(key[1], []).append(key[0])

    def _declared(self, key: Key, found: State) -> str:
        """What the undo step that the plan declares would do, as its host is now."""
        resolved = self._resolved(key)
        hidden = self._job.graph.nodes[key[0]].step.no_log
        if resolved is None or resolved.on_host is None or resolved.step.no_log or hidden:
            return ""
        try:
            change = resolved.on_host.decide(resolved.params, found)
        except StepFailed as error:
            return f" ({error})"
        return " (nothing to do for it, as the host is)" if change is None else f" ({change.summary})"

    def _restored(self, key: Key, prepared: Prepared, found: State, way: str, seen: _Looked) -> Undo:
        """An undo by the step's own reverse program, which insists on finding what the run left."""
        resolved, left = self._resolved(key), self._left.get(key)
        if resolved is None or left is None:
            return self._told(key, Expected.UNDONE, way)
        touched = resolved.type.resources(resolved.params)
        expected = self._overlay.expected(key[1], resolved.type.name, touched)
        now = found.facts if expected is None else expected[0]
        others = self._overlay.doubts(key[1], touched)
        if expected is not None:
            others = others.without(expected[1])
        facts: dict[str, Facts] = {"before": prepared.before, "left": left, "now": now}
        if now == prepared.before and left != prepared.before:
            return self._told(key, Expected.ALREADY, way, "as before the run already", facts=facts)
        trouble: Hopeless | None = None
        if now != left and key not in self._begun and resolved.type.guards_undo and not others:
            trouble = conflict(prepared.before, left, now, seen.traces[key[0]].written)
            facts = {**trouble.facts}
        elif now != prepared.before and not seen.traces[key[0]].kept:
            trouble = gone(key[1], prepared.before, left, now)
        if trouble is not None:
            verdict = Expected.GONE if trouble.trouble == "gone" else Expected.CONFLICT
            return self._told(key, verdict, way, str(trouble), unless=tuple(self._opaque.get(key[1], ())), facts=facts)
        self._overlay.change(key[0], key[1], resolved.type.name, touched, touched, prepared.before, sure=True)
        return self._told(key, Expected.UNDONE, way, unless=others.some, facts=facts)

    def _way(self, key: Key, prepared: Prepared) -> str:
        step = self._job.graph.nodes[key[0]].step
        reverse = prepared.reverse or {}
        if "undo" in reverse:
            return f"undo: {step.undo.type}" if step.undo is not None else "undo"
        if "controller" in reverse:
            return "put back by the controller"
        if prepared.before.get("kind") == "absent":
            return "removed again"
        return "restored from its pre-image" if "kind" in prepared.before else "put back as it was"

    def _told(self, key: Key, expected: Expected, way: str = "", why: str = "", *, unless: tuple[str, ...] = (),
              facts: Mapping[str, Facts] | None = None) -> Undo:
        step, redact = self._job.graph.nodes[key[0]].step, self._job.secrets.redact
        if step.no_log:
            why = why.partition(":")[0]
        return Undo(node=key[0], host=key[1], type=step.type, expected=expected, way=redact(way), why=redact(why),
                    unless=unless, facts={} if step.no_log or facts is None else facts)

    def _op(self, key: Key) -> str:
        return op_id(self._job.name.id, *key)


def _observed(step: HostStep[Any], resolved: Filled, reply: Reply) -> State | Exception:
    try:
        return step.observe(resolved.params, reply)
    except Exception as error:  # noqa: BLE001 - as above
        return error
