"""One run from a seed: a random plan in a bad world, controllers that die, people who go on, and the judgement."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.process import Crash, Journal, Process
from tests.simulation.scenario import COMMAND, IRREVERSIBLE, Key, Scenario, scenario
from tests.simulation.world import World, Wrong, depends, fate
from ultraplan.engine.conduct import Conductor
from ultraplan.engine.states import OpState, ProtocolError
from ultraplan.journal.events import AnyEvent, OpEvent, Record, Resolved, RunClosed

MOST_PROCESSES = 12
"""Controllers that one run sees, at most; the last ones live in a calm world."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a simulated run ended. ``events``: durable ones; ``processes``: controllers it took."""

    seed: int
    status: str
    events: int
    processes: int


class Broken(AssertionError):
    """An invariant does not hold; the message has the seed, the plan and the journal."""


def simulate(seed: int) -> Told:
    """Run the world of ``seed`` to its end; raises `Broken`."""
    rng = random.Random(seed)
    plan = scenario(rng)
    world = World(plan, rng)
    journal = Journal()
    try:
        return _Run(seed, rng, plan, world, journal).live()
    except (Wrong, ProtocolError) as wrong:
        raise Broken(_report(seed, str(wrong), plan, world, journal)) from wrong


class _Run:
    def __init__(self, seed: int, rng: random.Random, plan: Scenario, world: World, journal: Journal) -> None:
        self.seed, self.rng, self.plan, self.world, self.journal = seed, rng, plan, world, journal

    def live(self) -> Told:
        verb: str | None = None
        closed: RunClosed | None = None
        deadly = self.rng.random() < 0.6
        for number in range(1, MOST_PROCESSES + 1):
            self.world.calm = number > MOST_PROCESSES - 4
            dies = self.rng.randint(0, 25) if deadly and not self.world.calm and self.rng.random() < 0.7 else None
            stops = self.rng.randint(1, 20) if not self.world.calm and self.rng.random() < 0.1 else None
            process = Process(self.plan, self.world, self.journal, self.rng, dies, stops)
            try:
                closed = process.go_on(verb)
            except Crash:
                closed = None
            if self.rng.random() < 0.7:
                self.world.settle()
            if closed is not None:
                self._true(closed, process.conductor)
                self._same_on_replay(process.conductor)
            verb = self._what_next(closed, process.conductor)
            if verb is None:
                break
        else:
            if closed is None:
                raise Wrong("the run does not end")
        if self.rng.random() < 0.3:
            self._same_in_any_order()
        return Told(self.seed, closed.status if closed else "killed", len(self.journal.records), number)

    def _what_next(self, closed: RunClosed | None, conductor: Conductor) -> str | None:
        """What a person does now: nothing, or resume, or rollback."""
        rng = self.rng
        if closed is None:
            return rng.choice(("resume", "resume", "resume", "rollback"))
        doubtful = conductor.in_doubt()
        if closed.status in ("paused", "rollback_incomplete") and doubtful and rng.random() < 0.8:
            self._resolve(*doubtful[0])
            return "resume"
        match closed.status:
            case "succeeded":
                return rng.choice((None, None, "rollback"))
            case "rolled_back" | "rolled_back_in_part":
                return None
            case "interrupted":
                return rng.choice(("resume", "resume", "rollback"))
            case "failed":
                return rng.choice((None, "resume", "rollback") if conductor.failures else (None, "rollback"))
            case _:
                return rng.choice((None, "resume", "resume", "rollback"))

    def _resolve(self, key: Key, direction: str) -> None:
        """A person looks, and says truthfully how it ended."""
        self.world.settle()
        done = bool(self.world.applied.get(key)) is (direction == "forward")
        for (other, name), receipt in self.world.receipts.items():
            if other == key and name[0] == direction[0] and not done:
                receipt.disowned = True
        event = Resolved(op="", node=key[0], host=key[1], direction=direction, done=done)  # type: ignore[arg-type]
        self.journal.records.append(Record(len(self.journal.records) + 1, 0.0, event))
        self.journal.begun.append(len(self.journal.records) - 1)
        self.world.durable(event)

    # -- what has to be true ------------------------------------------------------------------------------------

    def _true(self, closed: RunClosed, conductor: Conductor) -> None:
        world, shape = self.world, self.plan.shape
        standing = {key for key, there in world.applied.items() if there}
        named = {tuple(line.split(":")[0].split(" on ")) for line in closed.residue}
        match closed.status:
            case "succeeded":
                if world.going_back:
                    raise Wrong("succeeded, though hosts went back")
                for node in shape.nodes.values():
                    for host in node.hosts:
                        self._fine((node.id, host))
            case "rolled_back":
                if standing:
                    raise Wrong(f"rolled back, but {sorted(standing)} still stand")
            case "rolled_back_in_part":
                final = {key for key in named if conductor.unwind.irreversible(key)}  # type: ignore[arg-type]
                if not final or standing - named or any(
                        not any(depends(shape, other, key) for other in named) for key in named - final):  # type: ignore[arg-type]
                    raise Wrong(f"rolled back in part, but {sorted(standing)} still stand: {closed.residue}")
            case "rollback_incomplete":
                if all(one.kind == "irreversible" for one in closed.left):
                    raise Wrong("what is left is irreversible by the plan's word: that is no incomplete rollback")
                if not closed.residue:
                    raise Wrong("rollback incomplete without a residue")
                missing = {key for key in standing if key[1] in world.going_back} - named
                if missing:
                    raise Wrong(f"{sorted(missing)} still stand, but the residue does not say so: {closed.residue}")
                for key in named:
                    if conductor.unwind.state[key] is OpState.VERIFIED:  # type: ignore[index]
                        raise Wrong(f"the residue names {key}, which was undone")
            case "failed":
                left = {key for key in standing if key[1] in world.going_back} - named
                if left:
                    raise Wrong(f"failed, hosts rolled back, but {sorted(left)} still stand and no residue says so")
            case "paused" | "interrupted":
                pass
            case other:
                raise Wrong(f"a status that does not exist: {other}")

    def _fine(self, key: Key) -> None:
        """After a run that succeeded: this operation is as the plan wants it."""
        last, kind = self.world.last.get(key), self.plan.kinds[key[0]]
        if last == "Failed":
            if fate(self.world, key, None) == "taken":
                return
            raise Wrong(f"succeeded, but {key} failed")
        if last == "Skipped":
            node = self.plan.shape.nodes[key[0]]
            rescue = any(around.role == "rescue" for around in node.blocks)
            if kind != "unwanted" and not rescue and not self._excused(key):
                raise Wrong(f"succeeded, but {key} was skipped for nothing")
            return
        if last not in ("Verified", "Unchanged"):
            raise Wrong(f"succeeded, but {key} is {last}")
        if last == "Verified" and kind in ("change", COMMAND, IRREVERSIBLE) and not self.world.applied.get(key):
            raise Wrong(f"succeeded, but {key} has no effect")

    def _excused(self, key: Key) -> bool:
        """Whether a failure inside one of its blocks explains that it was skipped."""
        shape = self.plan.shape
        mine = {around.block for around in shape.nodes[key[0]].blocks}
        return any(((word == "Failed" and other[1] == key[1])
                    or (word in ("Failed", "Skipped") and shape.nodes[other[0]].single))
                   and any(around.block in mine for around in shape.nodes[other[0]].blocks)
                   for other, word in self.world.last.items())

    def _same_on_replay(self, conductor: Conductor) -> None:
        again = Conductor(self.plan.shape)
        again.replay(self.journal.records)
        if snapshot(conductor) != snapshot(again):
            raise Wrong(f"replay differs:\n{snapshot(conductor)}\n{snapshot(again)}")

    def _same_in_any_order(self) -> None:
        """Events of operations that were under way at the same time may be recorded in either order."""
        plain = Conductor(self.plan.shape)
        plain.replay(self.journal.records)
        events: list[AnyEvent] = [record.event for record in self.journal.records]
        begun = list(self.journal.begun)
        for index in range(len(events) - 1):
            one, other = events[index], events[index + 1]
            together = (isinstance(one, OpEvent) and isinstance(other, OpEvent) and begun[index + 1] <= index
                        and (one.node, one.host) != (other.node, other.host))
            resolved = isinstance(one, Resolved) or isinstance(other, Resolved)
            if together and not resolved and self.rng.random() < 0.5:
                events[index], events[index + 1] = other, one
                begun[index], begun[index + 1] = begun[index + 1], begun[index]
        swapped = Conductor(self.plan.shape)
        swapped.replay(Record(seq, 0.0, event) for seq, event in enumerate(events, 1))
        if snapshot(plain) != snapshot(swapped):
            raise Wrong(f"the order of events matters:\n{snapshot(plain)}\n{snapshot(swapped)}")


def snapshot(conductor: Conductor) -> dict[str, object]:
    """The state of a conductor that no work is going on for, as the next process would find it."""
    for key in conductor.under_way():
        conductor.abandon(key, "forward")
    for key in conductor.unwind.under_way():
        conductor.unwind.abandon(key)
    begun = {key: state for key, state in conductor.forward.items() if state is not OpState.PENDING}
    return {
        "forward": {key: str(state) for key, state in sorted(begun.items())},
        "reverse": {key: str(state) for key, state in sorted(conductor.unwind.state.items())},
        "closed": conductor.closed, "back": sorted(conductor.unwinding), "run back": conductor.going_back is not None,
        "failures": sorted(conductor.failures), "ready": sorted(map(str, conductor.ready())),
        "decision": type(conductor.decide()).__name__,
    }


def _report(seed: int, wrong: str, plan: Scenario, world: World, journal: Journal) -> str:
    shape = plan.shape
    lines = [
        f"seed {seed}: {wrong}", f"again: python -m tests.simulation {seed}", "",
        f"batches {shape.batches} {'free' if shape.free else 'linear'} fail {shape.max_fail_percentage}% "
        f"unreachable {shape.max_unreachable_percentage}% scope {shape.rollback_scope}",
        *plan.text, f"needs {[(node.id, node.needs) for node in shape.nodes.values()]}",
        f"kinds {plan.kinds}", f"failing {plan.failing} undo {plan.undo_failing} "
        f"retries {({name: count for name, count in plan.retries.items() if count})}", "",
        *(f"{record.seq:3} {_line(record.event)}" for record in journal.records), "",
        f"applied {[key for key, there in world.applied.items() if there]}",
    ]
    return "\n".join(lines)


def _line(event: AnyEvent) -> str:
    if isinstance(event, OpEvent):
        rest = {name: getattr(event, name) for name in event.__struct_fields__
                if name in ("ok", "attempt", "exit", "error", "why", "done", "unreachable")}
        return f"{event.direction} {event.node} on {event.host} {type(event).__name__} {rest}"
    return str(event)
