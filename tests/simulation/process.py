"""One controller process: the loop of `ultraplan.engine.drive` and what its workers do, as generators on one thread.

Everything between two ``yield`` is one moment; at any of them another worker may go on, or the process may die.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.scenario import CHANGE, CHECK, COMMAND, IRREVERSIBLE, UNCHANGED, UNWANTED, Key, Scenario
from tests.simulation.world import Away, Lost, Receipt, TimedOut, World, Wrong
from ultraplan.engine.conduct import Conductor, Run, Skip
from ultraplan.engine.states import UNDER_WAY, OpState, ProtocolError
from ultraplan.engine.unwind import NO_WAY_BACK
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    InDoubt,
    Intent,
    OpEvent,
    Outcome,
    Prepared,
    Record,
    Resolved,
    RollbackDecided,
    RunClosed,
    Skipped,
    Started,
    TakenOver,
    Unchanged,
    Verified,
)

Work = Generator[None, None, None]
Working = tuple[list[Key], str, Work, int]
"""Operations, their direction, what is left of the work on them, and how many records were durable when it began."""


class Crash(Exception):
    """The process was killed."""


class Stopped(Exception):
    """The operation may not go on in this process."""


@dataclass(slots=True)
class Journal:
    """What is durable. ``begun``: for each record, how many were durable when the work that wrote it began."""

    records: list[Record] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)


class Process:
    """A controller that opens or takes over a run. ``dies_after``: so many events become durable, then it is killed."""

    def __init__(self, scenario: Scenario, world: World, journal: Journal, rng: random.Random,
                 dies_after: int | None, stops_after: int | None) -> None:
        self.scenario, self.world, self.journal, self.rng = scenario, world, journal, rng
        self.dies_after, self.stops_after = dies_after, stops_after
        self.conductor = Conductor(scenario.shape)
        self.stopping = False
        self._intents: dict[tuple[Key, str], Intent] = {}
        self._attempts: dict[tuple[Key, str], int] = {}
        self._outcomes: dict[tuple[Key, str], Outcome] = {}
        self._resolved: dict[tuple[Key, str], bool] = {}
        self._may_have_begun: set[Key] = set()
        self._spent: dict[Key, int] = {}
        self._left: set[Key] = set()
        self._begun = 0
        for record in journal.records:
            self._take_in(record)

    # -- the run's verbs, as engine/runs.py has them --------------------------------------------------------------

    def go_on(self, verb: str | None) -> RunClosed:
        """Open the run (None), or resume it, or roll it back. Raises `Crash`."""
        if verb is not None:
            self.write(TakenOver(epoch=1, verb=verb))  # type: ignore[arg-type]
        if verb == "rollback":
            self._turn_round()
        return self._drive()

    def _turn_round(self) -> None:
        for key, direction, state in self._under_way():
            if direction == "forward" and state in UNDER_WAY - {OpState.STARTED, OpState.PREPARED}:
                self.write(Failed(op="", node=key[0], host=key[1], error="interrupted; the run goes back"))
        if self.conductor.going_back is None:
            self.write(RollbackDecided(scope="run", cause="asked for"))

    def _under_way(self) -> list[tuple[Key, str, OpState]]:
        unwind = self.conductor.unwind
        return ([(key, "forward", self.conductor.state(*key)) for key in self.conductor.under_way()]
                + [(key, "reverse", unwind.state[key]) for key in unwind.under_way()])

    # -- the loop, as engine/drive.py has it ----------------------------------------------------------------------

    def _drive(self) -> RunClosed:
        working: list[Working] = []
        while True:
            closed = self._decide(bool(working))
            if closed is not None:
                self._begun = len(self.journal.records)
                self.write(closed)
                return closed
            for action in self._startable():
                if action.direction == "forward":
                    keys = self.conductor.ahead((action.node, action.host), self._fits, self.rng.choice((1, 2, 3, 9)))
                    work = self._together(keys) if len(keys) > 1 else self._forward(keys[0])
                else:
                    keys, work = [(action.node, action.host)], self._reverse((action.node, action.host))
                for key in keys:
                    self._begin(key, action.direction)
                working.append((keys, action.direction, work, len(self.journal.records)))
            if not working:
                if self.stopping:
                    closed = RunClosed(status="interrupted", cause="stopped by a person")
                    self.write(closed)
                    return closed
                if self.conductor.decide() is None and not self.conductor.ready():
                    raise Wrong("nothing may start and nothing is decided")
                continue
            self._work(working)

    def _work(self, working: list[Working]) -> None:
        """Let workers go on until one of them ends."""
        while True:
            index = self.rng.randrange(len(working))
            keys, direction, work, self._begun = working[index]
            try:
                next(work)
            except StopIteration:
                working.pop(index)
                return
            except Stopped:
                for key in keys:
                    self.conductor.abandon(key, direction)
                working.pop(index)
                return

    def _begin(self, key: Key, direction: str) -> None:
        self.conductor.record(Started(op="", node=key[0], host=key[1], direction=direction), 0)  # type: ignore[arg-type]

    def _decide(self, working: bool) -> RunClosed | None:
        while True:
            decision = self.conductor.decide()
            if decision is None:
                return None
            if isinstance(decision, RunClosed):
                return None if working else decision
            self._begun = len(self.journal.records)
            self.write(decision)

    def _startable(self) -> list[Run]:
        while True:
            if self.stopping:
                return []
            actions = self.conductor.ready()
            skips = [action for action in actions if isinstance(action, Skip)]
            if not skips:
                return [action for action in actions if isinstance(action, Run)]
            self._begun = len(self.journal.records)
            self.write(*(Skipped(op="", node=skip.node, host=skip.host, direction=skip.direction,  # type: ignore[arg-type]
                                 why=skip.why) for skip in skips))

    # -- the journal ----------------------------------------------------------------------------------------------

    def write(self, *events: AnyEvent) -> None:
        """Durable one by one: a death may come between any two."""
        for event in events:
            if self.dies_after is not None:
                if self.dies_after == 0:
                    raise Crash
                self.dies_after -= 1
            if self.stops_after is not None:
                self.stops_after -= 1
                self.stopping = self.stopping or self.stops_after <= 0
            record = Record(len(self.journal.records) + 1, 0.0, event)
            self.journal.records.append(record)
            self.journal.begun.append(self._begun)
            self.world.durable(event)
            self._take_in(record)

    def _take_in(self, record: Record) -> None:
        try:
            self.conductor.record(record.event, record.seq)
        except ProtocolError as error:
            raise Wrong(f"{error} ({record.event})") from None
        event = record.event
        if not isinstance(event, OpEvent):
            return
        key = (event.node, event.host)
        if isinstance(event, Intent):
            self._intents[key, event.direction] = event
            self._attempts[key, event.direction] = event.attempt
            self._outcomes.pop((key, event.direction), None)
            self._resolved.pop((key, event.direction), None)
        elif isinstance(event, Outcome):
            self._outcomes[key, event.direction] = event
            if event.direction == "forward" and event.began:
                self._may_have_begun.add(key)
                self._spent[key] = self._spent.get(key, 0) + 1
        elif isinstance(event, Resolved):
            self._resolved[key, event.direction] = event.done
            self._spent[key] = 0
        elif isinstance(event, Failed) and event.direction == "forward":
            self._spent[key] = 0
        elif isinstance(event, Verified) and event.direction == "forward":
            self._left.add(key)

    def _wait(self) -> None:
        if self.stopping:
            raise Stopped

    # -- forward, as engine/forward.py has it ---------------------------------------------------------------------

    def _forward(self, key: Key) -> Work:
        node, host = key
        about: dict[str, Any] = {"op": "", "node": node, "host": host}
        try:
            yield from self._carry_out(key, about)
        except Away:
            self.write(Started(**about), Failed(
                **about, error="away", effect=(key, "forward") in self._intents, unreachable=True))
        except Failure as failure:
            self.write(Started(**about), Failed(
                **about, error=str(failure), effect=(key, "forward") in self._intents))

    # -- several together, as engine/ahead.py has it ----------------------------------------------------------------

    def _fits(self, node: str) -> bool:
        return self.scenario.kinds[node] in (CHANGE, COMMAND, UNCHANGED, UNWANTED) and not self.scenario.retries[node]

    def _together(self, keys: list[Key]) -> Work:
        members = []
        try:
            self.world.look(keys[0][1])
        except Away:
            pass
        else:
            for key in keys:
                if self.scenario.kinds[key[0]] == UNWANTED:
                    break
                members.append(key)
        for key in keys[max(1, len(members)):]:
            self.conductor.abandon(key, "forward")
        yield
        if not members:
            yield from self._forward(keys[0])
            return
        yield from self._trip(members)
        for key in members:
            if self.conductor.state(*key) in UNDER_WAY:
                self.conductor.abandon(key, "forward")

    def _trip(self, members: list[Key]) -> Work:
        calm = {key for key in members if self.world.as_wanted(key)}
        about: dict[Key, dict[str, Any]] = {key: {"op": "", "node": key[0], "host": key[1]} for key in members}
        attempts: dict[Key, int] = {}
        if self.stopping or not all(self.conductor.may_effect(key) for key in members):
            raise Stopped
        for key in members:
            if key not in calm:
                attempts[key] = self._announce(key, about[key], self.scenario.kinds[key[0]])
        yield
        left = list(members)
        while left:
            key = left.pop(0)
            if key in calm:
                self.write(Started(**about[key]), Unchanged(**about[key]))
                continue
            try:
                code: int | None = self.world.effect(key, attempts[key], "forward")
                problem: str | None = None
                yield
            except TimedOut:
                code, problem = None, "did not end in time"
            except Lost:
                self._go_on_unseen(key, [one for one in left if one not in calm], attempts)
                yield
                try:
                    code, problem = yield from self._found(key, attempts[key])
                except Away:
                    self.write(Started(**about[key]), Failed(**about[key], error="away", unreachable=True))
                    return
            if not self._settled(key, about[key], attempts[key], code, problem):
                break
            if code is None:  # the connection was lost: what comes after it has its turn anew
                break
        else:
            return
        for key in left:
            if key in calm or self.conductor.state(*key) is not OpState.INTENT:
                continue
            try:
                code, problem = yield from self._found(key, attempts[key])
            except Away:
                return
            if problem != NEVER_BEGAN:
                return
            self.write(Outcome(**about[key], ok=False, attempt=attempts[key], error=problem, began=False))

    def _go_on_unseen(self, key: Key, left: list[Key], attempts: dict[Key, int]) -> None:
        """Nobody hears the shell any more; it goes on while all is well."""
        while left and self.world.ended_well(key) and self.rng.random() < 0.5:
            key = left.pop(0)
            try:
                self.world.effect(key, attempts[key], "forward")
            except (Lost, TimedOut):
                return

    def _found(self, key: Key, attempt: int) -> Generator[None, None, tuple[int | None, str | None]]:
        self.world.look(key[1])
        receipt = self.world.receipt(key, attempt, "forward", patient=True)
        yield
        return (yield from self._ended(key, self._intents[key, "forward"], "forward", receipt))

    def _settled(self, key: Key, about: dict[str, Any], attempt: int, code: int | None, problem: str | None) -> bool:
        opaque = self.scenario.kinds[key[0]] == COMMAND
        if code is None and problem is None and opaque:
            self.write(InDoubt(**about, why="no exit code"))
            return False
        problem = self._judge(key, opaque, code, problem)
        if problem is None:
            self.write(Outcome(**about, ok=True, attempt=attempt, exit=code), Verified(**about))
            return True
        self.write(Outcome(**about, ok=False, attempt=attempt, exit=code, error=problem, began=problem != NEVER_BEGAN))
        self.write(Started(**about), Failed(**about, error=problem))
        return False

    def _carry_out(self, key: Key, about: dict[str, Any]) -> Work:
        node, host = key
        kind, retries = self.scenario.kinds[node], self.scenario.retries[node]
        opaque = kind in (COMMAND, IRREVERSIBLE)
        possible = (key, "forward") in self._intents
        if kind == UNWANTED and not possible:
            self.write(Skipped(**about, why="when"))
            return
        if kind == CHECK:
            for left in range(retries, -1, -1):
                self.world.look(host)
                yield
                if self.scenario.failing.get(key, 0) <= retries - left:
                    self.write(Started(**about), Verified(**about))
                    return
                if left:
                    yield
                    self._wait()
            raise Failure("not as it should be")
        self.world.look(host)
        fewest = -1
        if self.conductor.state(*key) in (OpState.INTENT, OpState.DONE):
            ended = yield from self._adopt(key, about, opaque)
            if ended is True:
                return
            fewest = 0 if ended is None else -1
        last = self._outcomes.get((key, "forward"))
        if last is not None and self.conductor.state(*key) is OpState.MISSED and self._retries_left(key) < 0 > fewest:
            raise Failure(last.error)
        for left in range(max(self._retries_left(key), fewest), -1, -1):
            if kind == UNCHANGED or (kind == CHANGE and self.world.applied.get(key)):
                if (key, "forward") in self._intents:
                    self.write(Started(**about), Verified(**about))
                else:
                    self.write(Started(**about), Unchanged(**about))
                return
            if self.stopping or not self.conductor.may_effect(key):
                raise Stopped
            attempt = self._announce(key, about, kind)
            yield
            reply, problem = yield from self._effect(key, attempt)
            if reply is None and problem is None and opaque:
                self.write(InDoubt(**about, why="no exit code"))
                return
            problem = self._judge(key, opaque, reply, problem)
            if problem is None:
                self.write(Outcome(**about, ok=True, attempt=attempt, exit=reply), Verified(**about))
                return
            self.write(Outcome(**about, ok=False, attempt=attempt, exit=reply, error=problem,
                               began=problem != NEVER_BEGAN))
            yield
            if left == 0:
                raise Failure(problem)
            yield
            self._wait()

    def _retries_left(self, key: Key) -> int:
        return self.scenario.retries[key[0]] - self._spent.get(key, 0)

    def _adopt(self, key: Key, about: dict[str, Any], opaque: bool) -> Generator[None, None, bool | None]:
        """Whether that ended it; None: the attempt died, which says nothing of the step."""
        known = self._intents[key, "forward"]
        receipt = self.world.receipt(key, known.attempt, "forward", patient=True)
        yield
        reply, problem = yield from self._ended(key, known, "forward", receipt)
        if problem is not None:
            self.write(Outcome(**about, ok=False, attempt=known.attempt, error=problem, began=problem != NEVER_BEGAN))
            return False
        if reply is None and opaque:
            self.write(InDoubt(**about, why="no exit code"))
            return True
        problem = self._judge(key, opaque, reply, None)
        if problem is None:
            self.write(Outcome(**about, ok=True, attempt=known.attempt, exit=reply), Verified(**about))
            return True
        self.write(Outcome(**about, ok=False, attempt=known.attempt, exit=reply, error=problem))
        if reply is None:
            return None
        if self._retries_left(key) < 0:
            raise Failure(problem)
        return False

    def _announce(self, key: Key, about: dict[str, Any], kind: str) -> int:
        attempt = self._attempts.get((key, "forward"), 0) + 1
        events: list[AnyEvent] = []
        known = self.conductor.unwind.way_of(key)
        if known is None or self.conductor.state(*key) is OpState.STARTED:
            prepared = known or Prepared(
                **about, way_back=NO_WAY_BACK if kind == IRREVERSIBLE else "reversible",
                reverse=None if kind == IRREVERSIBLE else {"kind": kind})
            events += [Started(**about), prepared]
        events.append(Intent(**about, attempt=attempt, epoch=1, boot=str(self.world.boot(key[1]))))
        self.write(*events)
        return attempt

    def _effect(self, key: Key, attempt: int) -> Generator[None, None, tuple[int | None, str | None]]:
        try:
            code = self.world.effect(key, attempt, "forward")
        except TimedOut:
            return None, "did not end in time"
        except Lost:
            yield
            self.world.look(key[1])
            receipt = self.world.receipt(key, attempt, "forward", patient=True)
            yield
            return (yield from self._ended(key, self._intents[key, "forward"], "forward", receipt))
        yield
        return code, None

    def _ended(self, key: Key, intent: Intent, direction: str,
               receipt: Receipt | None) -> Generator[None, None, tuple[int | None, str | None]]:
        if receipt is not None:
            if not receipt.begun:
                return None, NEVER_BEGAN
            return receipt.exit, None
        if intent.boot != str(self.world.boot(key[1])):
            return None, None
        if self.world.forbid(key, intent.attempt, direction):
            return None, NEVER_BEGAN
        yield
        found = self.world.receipt(key, intent.attempt, direction, patient=True)
        return (found.exit if found is not None else None), None

    def _judge(self, key: Key, opaque: bool, reply: int | None, problem: str | None) -> str | None:
        if problem is not None:
            return problem
        if reply is None:
            return None if self.world.applied.get(key) else "an attempt died"
        return None if reply == 0 else f"exit {reply}"

    # -- reverse, as engine/backward.py has it --------------------------------------------------------------------

    def _reverse(self, key: Key) -> Work:
        about: dict[str, Any] = {"op": "", "node": key[0], "host": key[1], "direction": "reverse"}
        prepared = self.conductor.unwind.way_of(key)
        yield
        if prepared is None or (prepared.reverse is None and prepared.way_back != NO_WAY_BACK):
            self.write(Skipped(**about, why="nothing to undo"))
            return
        for left in (2, 1, 0):
            try:
                yield from self._undo(key, about, prepared)
                return
            except Doubt as doubt:
                self.write(Started(**about), InDoubt(**about, why=str(doubt)))
                return
            except (Failure, Away) as failure:
                if left == 0:
                    self.write(Started(**about), Failed(
                        **about, error=str(failure), unreachable=isinstance(failure, Away)))
                    return
                yield
                self._wait()

    def _undo(self, key: Key, about: dict[str, Any], prepared: Prepared) -> Work:
        self.world.look(key[1])
        opaque = self.scenario.kinds[key[0]] in (COMMAND, IRREVERSIBLE)
        began = yield from self._began(key)
        if began is False:
            self.write(Skipped(**about, why="it never began"))
            return
        if began is None and opaque:
            raise Doubt("whether the step was done is not known")
        if prepared.way_back == NO_WAY_BACK:
            self.write(Started(**about), Failed(**about, error="irreversible", effect=False))
            return
        if not opaque:
            yield from self._previous(key)
            self.world.look(key[1])
            if key in self._left and not self.world.applied.get(key):
                self.write(Started(**about), Verified(**about))
                return
            yield from self._attempt(key, about)
            self.world.look(key[1])
            if self.world.applied.get(key):
                raise Failure("after the undo not as before")
            self.write(Verified(**about))
            return
        undone = yield from self._undone_before(key, about)
        if not undone:
            yield from self._attempt(key, about)
        self.write(Verified(**about))

    def _began(self, key: Key) -> Generator[None, None, bool | None]:
        known = self._intents.get((key, "forward"))
        if known is None:
            return False
        said = self._resolved.get((key, "forward"))
        if said or self.conductor.state(*key) is OpState.VERIFIED:
            return True
        if said is False or (key, "forward") in self._outcomes:
            return key in self._may_have_begun
        receipt = self.world.receipt(key, known.attempt, "forward", patient=False)
        yield
        reply, problem = yield from self._ended(key, known, "forward", receipt)
        if problem == NEVER_BEGAN:
            return key in self._may_have_begun
        return True if reply is not None or problem is not None else None

    def _previous(self, key: Key) -> Generator[None, None, tuple[int | None, str | None] | None]:
        known = self._intents.get((key, "reverse"))
        if known is None or (key, "reverse") in self._outcomes or (key, "reverse") in self._resolved:
            return None
        receipt = self.world.receipt(key, known.attempt, "reverse", patient=True)
        yield
        return (yield from self._ended(key, known, "reverse", receipt))

    def _undone_before(self, key: Key, about: dict[str, Any]) -> Generator[None, None, bool]:
        last = self._outcomes.get((key, "reverse"))
        if last is not None:
            return last.ok
        ended = yield from self._previous(key)
        if ended is None or ended[1] is not None:
            return False
        reply = ended[0]
        if reply is None:
            raise Doubt("its undo began, and left no exit code when it died")
        self.write(Started(**about), Outcome(
            **about, ok=reply == 0, attempt=self._attempts[key, "reverse"], exit=reply))
        return reply == 0

    def _attempt(self, key: Key, about: dict[str, Any]) -> Work:
        attempt = self._attempts.get((key, "reverse"), 0) + 1
        self.write(Started(**about), Intent(**about, attempt=attempt, epoch=1, boot=str(self.world.boot(key[1]))))
        yield
        try:
            code = self.world.effect(key, attempt, "reverse")
        except (Lost, TimedOut):
            raise Failure("lost") from None  # the next attempt asks the receipt
        yield
        if code != 0:
            self.write(Outcome(**about, ok=False, attempt=attempt, exit=code, error="exit"))
            raise Failure(f"exit {code}")
        self.write(Outcome(**about, ok=True, attempt=attempt))
        yield


NEVER_BEGAN = "the connection was lost before it began"


class Failure(Exception):
    """`ultraplan.steps.base.StepFailed`, here."""


class Doubt(Exception):
    """Only a person can know."""
