"""The hosts: what is true of them, what they remember, and what can go wrong between a controller and them.

The world also judges. It knows what really happened, and raises `Wrong` where a controller does what it must not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.scenario import ALWAYS, CHANGE, COMMAND, IRREVERSIBLE, UNCHANGED, Key, Scenario
from ultraplan.engine.shape import Shape
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    Intent,
    OpEvent,
    Outcome,
    Resolved,
    RollbackDecided,
    RunClosed,
    Skipped,
    TakenOver,
    Unchanged,
    Verified,
)

ENDED = ("Failed", "Skipped", "Unchanged", "Verified")
"""The journal's last words on a forward operation of which nothing more happens."""


class Wrong(AssertionError):
    """An invariant does not hold."""


class Away(Exception):
    """The host cannot be reached."""


class Lost(Exception):
    """The answer of an effect did not arrive."""


class TimedOut(Exception):
    """The effect did not end in time, and was ended."""


@dataclass(slots=True)
class Receipt:
    """What a host keeps of an attempt. ``begun`` False: it was made impossible before it began."""

    state: str                 # running, finished, dead
    exit: int | None = None
    begun: bool = True
    will: tuple[str, int | None, bool] | None = None   # how a running one ends: state, exit, whether it has its effect
    ended: bool = False        # a deadline passed, and the controller saw to its end
    disowned: bool = False     # a person said that it was not done


@dataclass
class World:
    """All hosts. ``calm``: nothing goes wrong any more, except what the scenario says."""

    scenario: Scenario
    rng: random.Random
    calm: bool = False
    applied: dict[Key, bool] = field(default_factory=dict)
    receipts: dict[tuple[Key, str], Receipt] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)
    away: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.last: dict[Key, str] = {}           # forward operation -> the journal's last word on it
        self.failures: dict[Key, Failed] = {}
        self.tries: dict[Key, int] = {}          # forward operation -> tries known to have failed, since it was begun
        self.going_back: dict[str, int] = {}     # host -> the number of the decision that it goes back
        self._decisions = 0
        self._closed = ""
        self._whole = False                      # the whole run goes back
        self._reverse: dict[Key, str] = {}       # the last event of its way back
        self._intended: set[Key] = set()         # forward operations that may have had an effect
        self.order: dict[Key, int] = {}          # forward operation -> the place of its first effect
        self._hosts = [host for batch in self.scenario.shape.batches for host in batch]
        self._storm = self.rng.choice((0.0, 0.03, 0.1, 0.25))

    def _let_go_on(self) -> None:
        """Somebody goes on: a host on which nothing had to be undone goes forward again, any other is done for good."""
        for host in list(self.going_back):
            intended = {key for key in self._intended if key[1] == host}
            if all(self._reverse.get(key) == "Skipped" for key in intended):
                del self.going_back[host]
                for key in intended:
                    del self._reverse[key]

    # -- what the journal says ----------------------------------------------------------------------------------

    def durable(self, event: AnyEvent) -> None:
        """The controller made ``event`` durable."""
        if isinstance(event, RollbackDecided):
            self._decisions += 1
            alone = event.scope == "host" and event.hosts is not None
            for host in self._hosts if event.hosts is None else event.hosts:
                if event.cause != "asked for" and host not in self.going_back:
                    self._judge_always(host, set(self._hosts) - {*(event.hosts or ()), *self.going_back}
                                       if alone else set())
                self.going_back.setdefault(host, self._decisions)
            self._whole = self._whole or event.hosts is None
        elif isinstance(event, TakenOver):
            if event.verb == "resume" and self._closed == "failed" and not self._whole:
                self._let_go_on()
            self._closed = ""
        elif isinstance(event, RunClosed):
            self._closed = event.status
        elif isinstance(event, OpEvent) and event.direction == "reverse":
            self._reverse[event.node, event.host] = type(event).__name__
        elif isinstance(event, Failed | Verified | Unchanged | Skipped) and event.direction == "forward":
            self.last[event.node, event.host] = type(event).__name__
            self.tries[event.node, event.host] = 0
            if isinstance(event, Failed):
                self.failures[event.node, event.host] = event
        elif isinstance(event, Outcome) and event.direction == "forward" and event.exit not in (None, 0):
            self._judge_tries((event.node, event.host))
        elif isinstance(event, Intent) and event.direction == "forward":
            self._judge_budget(event.node, event.host)
            self._judge_forward(event.node, event.host, self._sent_ahead)
            self.last[event.node, event.host] = "Intent"
            self.order.setdefault((event.node, event.host), len(self.order))
            self._intended.add((event.node, event.host))
        elif isinstance(event, Resolved) and event.direction == "forward":
            self.last[event.node, event.host] = "Verified" if event.done else "Intent"
            self.tries[event.node, event.host] = 0

    # -- what controllers may do ---------------------------------------------------------------------------------

    def look(self, host: str) -> None:
        """Reach the host; raises `Away`."""
        if not self.calm and host not in self.away and self.rng.random() < self._storm / 4:
            self.away[host] = self.rng.choice((1, 1, 3, 12))
        if host in self.away:
            self.away[host] -= 1
            if self.away[host] <= 0 or self.calm:
                del self.away[host]
            raise Away

    def boot(self, host: str) -> int:
        """The host's boot identity."""
        return self.boots.get(host, 0)

    def effect(self, key: Key, attempt: int, direction: str) -> int:
        """Let it happen; gives its exit code. Raises `Lost`, `TimedOut`."""
        name = (key, f"{direction[0]}{attempt}")
        if name in self.receipts:
            raise Lost
        self._judge(key, direction)
        if direction == "forward":
            self._judge_forward(*key, self.ended_well)
        if not self.calm and self.rng.random() < self._storm:
            return self._trouble(key, name, direction)
        return self._end(key, name, direction, *self._normally(key, attempt, direction))

    def receipt(self, key: Key, attempt: int, direction: str, patient: bool) -> Receipt | None:
        """The receipt once nothing runs under it. ``patient``: wait; otherwise what still runs is ended. `Away`."""
        self.look(key[1])
        found = self.receipts.get((key, f"{direction[0]}{attempt}"))
        if found is not None and found.state == "running":
            if patient or self.rng.random() < 0.5:
                state, code, has_effect = found.will or ("dead", None, False)
                found.state, found.exit = state, code
                if has_effect:
                    self.applied[key] = direction == "forward"
            else:
                found.state = "dead"
                if self.rng.random() < 0.5:
                    self.applied[key] = direction == "forward"
        return found

    def forbid(self, key: Key, attempt: int, direction: str) -> bool:
        """Make it impossible that the attempt begins; False where it began."""
        self.look(key[1])
        name = (key, f"{direction[0]}{attempt}")
        if name in self.receipts:
            return False
        self.receipts[name] = Receipt("finished", 125, begun=False)
        return True

    def settle(self) -> None:
        """A long time passes: whatever still runs ends."""
        for (key, name), found in self.receipts.items():
            if found.state == "running":
                found.state, found.exit, has_effect = found.will or ("dead", None, False)
                if has_effect:
                    self.applied[key] = name[0] == "f"

    # -- inside -------------------------------------------------------------------------------------------------

    def _normally(self, key: Key, attempt: int, direction: str) -> tuple[str, int | None, bool]:
        failing = self.scenario.failing if direction == "forward" else self.scenario.undo_failing
        if attempt <= failing.get(key, 0):
            return "finished", 1, direction == "forward" and self.rng.random() < 0.4
        return "finished", 0, True

    def _end(self, key: Key, name: tuple[Key, str], direction: str, state: str, code: int | None,
             has_effect: bool) -> int:
        self.receipts[name] = Receipt(state, code)
        if has_effect:
            self.applied[key] = direction == "forward"
        return code if code is not None else -1

    def _trouble(self, key: Key, name: tuple[Key, str], direction: str) -> int:
        attempt = int(name[1][1:])
        normally = self._normally(key, attempt, direction)
        kind = self.rng.choice(("not sent", "no answer", "runs on", "runs on", "dies", "slow", "reboot", "gone"))
        match kind:
            case "not sent":
                raise Lost
            case "no answer":
                self._end(key, name, direction, *normally)
                raise Lost
            case "runs on":
                dead = ("dead", None, self.rng.random() < 0.5)
                self.receipts[name] = Receipt("running", will=normally if self.rng.random() < 0.7 else dead)
                raise Lost
            case "dies":
                self._end(key, name, direction, "dead", None, self.rng.random() < 0.5)
                raise Lost
            case "slow":
                self._end(key, name, direction, "dead", None, self.rng.random() < 0.5)
                self.receipts[name].ended = True
                raise TimedOut
            case "reboot":
                self._end(key, name, direction, "dead", None, self.rng.random() < 0.5)
                self.boots[key[1]] = self.boot(key[1]) + 1
                for other, found in self.receipts.items():
                    if other[0][1] == key[1] and found.state == "running":
                        found.state = "dead"
                raise Lost
            case _:
                self._end(key, name, direction, *normally)
                self.away[key[1]] = 12
                raise Lost

    def _judge_tries(self, key: Key) -> None:
        """No more tries than the plan allows, where each is known to have failed."""
        self.tries[key] = self.tries.get(key, 0) + 1
        if self.tries[key] > self.scenario.retries[key[0]] + 1:
            raise Wrong(f"{key} fails for the {self.tries[key]}. time, more often than the plan allows")

    def _judge(self, key: Key, direction: str) -> None:
        node, host = key
        opaque = self.scenario.kinds[node] in (COMMAND, IRREVERSIBLE)
        earlier = [found for (other, name), found in self.receipts.items() if other == key and name[0] == direction[0]]
        if any(found.state == "running" for (other, _), found in self.receipts.items() if other == key):
            raise Wrong(f"{direction} effect of {key} begins while an earlier attempt runs")
        if opaque:
            for found in earlier:
                if found.state == "finished" and found.exit == 0 and not found.disowned:
                    raise Wrong(f"{direction} effect of {key} a second time")
                if found.state == "dead" and not found.ended and not found.disowned:
                    raise Wrong(f"{direction} effect of {key} again, though how it ended is not known")
        if direction == "forward":
            if host in self.going_back:
                raise Wrong(f"forward effect of {node} on {host} after its rollback was decided")
        else:
            if host not in self.going_back:
                raise Wrong(f"{key} is undone, which nobody decided")
            begun = [found for (other, name), found in self.receipts.items()
                     if other == key and name[0] == "f" and found.begun]
            if opaque and not begun:
                raise Wrong(f"{key} is undone, though it never began")
            for later, there in self.applied.items():
                with_it = self.going_back.get(later[1], ALWAYS) <= self.going_back[host]
                if (there and with_it and self.order[later] > self.order[key]
                        and depends(self.scenario.shape, later, key)):
                    raise Wrong(f"{key} is undone while {later}, which depends on it, still stands")

    def _judge_always(self, host: str, others: set[str]) -> None:
        """A host goes back because of a failure: what has to be done always was done where it was due, which is where
        all that it needs on its host is over (a rescue that was not begun before everything stopped is not), and no
        barrier held it for one of the ``others``, which may go on."""
        shape = self.scenario.shape
        if "Intent" in self.last.values():
            return  # in doubt: nothing new begins before a person has spoken
        failed = {part for part, names in shape.members.items()
                  if any(self.last.get((name, host)) == "Failed" for name in names)}
        for (block, role), names in shape.members.items():
            broken = bool(failed & {(block, "block"), (block, "rescue")})
            for name in names:
                around = [(one.block, one.role) for one in shape.nodes[name].blocks]
                if failed & set(around[around.index((block, role)):]):
                    continue  # the always itself broke, or a block in it
                due = host in shape.nodes[name].hosts and all(
                    place is None or place in self.last or place[1] in self.going_back
                    for place in (shape.place(need, host) for need in shape.needs[name])) and not any(
                    shape.barrier(need, name) and other in shape.nodes[need].hosts
                    and self.last.get((need, other)) not in ENDED
                    for need in shape.needs[name] for other in others)
                if role == "always" and broken and due and (name, host) not in self.last:
                    raise Wrong(f"{name} on {host} has to run always, and did not before the rollback")

    def _sent_ahead(self, key: Key) -> bool:
        """Whether what follows ``key`` on its host may be intended, though ``key`` is not settled."""
        return self.last.get(key) == "Intent" or self.as_wanted(key)

    def ended_well(self, key: Key) -> bool:
        """Whether what follows ``key`` on its host may begin, though ``key`` is not settled: the shell saw exit 0."""
        found = [receipt for (other, name), receipt in self.receipts.items() if other == key and name[0] == "f"]
        return self.as_wanted(key) or bool(found and found[-1].state == "finished" and found[-1].exit == 0)

    def as_wanted(self, key: Key) -> bool:
        kind = self.scenario.kinds[key[0]]
        return kind == UNCHANGED or (kind == CHANGE and bool(self.applied.get(key)))

    def _judge_forward(self, node: str, host: str, on_its_way: Callable[[Key], bool]) -> None:
        shape = self.scenario.shape
        if host in self.going_back:
            raise Wrong(f"forward effect of {node} on {host} after its rollback was decided")
        alone = self._closes_alone(node, host)
        for before in shape.nodes:
            if shape.follows(node, before):
                for other in shape.nodes[before].hosts:
                    if (other == host or (not shape.free and must_be_over(shape, (before, other), (node, host)))) \
                            and other not in self.going_back and self.last.get((before, other)) in (None, "Intent") \
                            and not (other == host and on_its_way((before, other))) \
                            and (other == host or not alone):
                        raise Wrong(f"{node} on {host} begins before {before} on {other}, far before it, is settled")
        for need in shape.nodes[node].needs:
            for other in shape.nodes[need].hosts:
                if not must_be_over(shape, (need, other), (node, host)):
                    continue
                was = self.last.get((need, other))
                if was in (None, "Intent") and (on_its_way((need, other)) if other == host else alone):
                    continue
                if other in self.going_back and (not tied(shape, (need, other), (node, host)) or any(
                        self._fine((need, one), (node, host)) for one in shape.nodes[need].hosts)):
                    continue  # lost within the plan's budget
                if was not in ("Verified", "Unchanged", "Skipped", "Failed"):
                    raise Wrong(f"{node} on {host} begins before {need} on {other} is settled")
                lost = other != host and any(self._fine((need, one), (node, host)) for one in shape.nodes[need].hosts)
                if was == "Failed" and tied(shape, (need, other), (node, host)) and not lost \
                        and fate(self, (need, other), (node, host)) != "taken":
                    raise Wrong(f"{node} on {host} begins although {need} on {other} failed")

    def _closes_alone(self, node: str, host: str) -> bool:
        """Whether a step closes a block that is broken on its host: once nothing new begins, it waits for no other."""
        shape = self.scenario.shape
        return any(around.role == "always" and any(
            self.last.get((name, host)) == "Failed" for part in ("block", "rescue")
            for name in shape.members.get((around.block, part), ())) for around in shape.nodes[node].blocks)

    def _fine(self, key: Key, seen_from: Key) -> bool:
        was = self.last.get(key)
        return was in ("Verified", "Unchanged", "Skipped") or (
            was == "Failed" and fate(self, key, seen_from) == "taken")

    def _judge_budget(self, node: str, host: str) -> None:
        shape = self.scenario.shape
        if any(around.role == "always" for around in shape.nodes[node].blocks):
            return
        mine = next(index for index, batch in enumerate(shape.batches) if host in batch)
        for batch in shape.batches[: mine + 1]:
            lost = {key[1]: failed.unreachable for key, failed in reversed(self.failures.items())
                    if key[1] in batch and key[1] in self.going_back and self.last[key] == "Failed"
                    and fate(self, key, None) == "fatal"}
            failed = 100 * sum(not away for away in lost.values()) / len(batch)
            unreachable = 100 * sum(lost.values()) / len(batch)
            if failed > shape.max_fail_percentage or unreachable > shape.max_unreachable_percentage:
                raise Wrong(f"{node} on {host} begins although {sorted(lost)} failed, more than the plan allows")


def tied(shape: Shape, key: Key, later: Key) -> bool:
    """Whether ``later`` rests on this very operation, rather than on the same step on its own host."""
    one, other = shape.nodes[key[0]], shape.nodes[later[0]]
    return key[1] == later[1] or one.single or other.single or later[1] not in one.hosts


def must_be_over(shape: Shape, key: Key, later: Key) -> bool:
    """Whether ``key`` holds ``later`` back until it is settled (all of the batch with a barrier)."""
    batch = next(batch for batch in shape.batches if later[1] in batch)
    if key[1] not in batch:
        return False
    return tied(shape, key, later) or not shape.free


def depends(shape: Shape, later: Key, key: Key) -> bool:
    """Whether ``later`` comes after ``key`` in the graph and rests on it directly or through its own host."""
    return shape.follows(later[0], key[0]) and tied(shape, key, later)


def fate(world: World, key: Key, seen_from: Key | None) -> str:
    """What became of a failure: taken (the plan says to go on, or a rescue that ended well), open, or fatal.

    ``seen_from``: for an operation inside the same block, the block's rescue and always steps are not asked for.
    """
    shape = world.scenario.shape
    node = shape.nodes[key[0]]
    if node.on_failure == "continue":
        return "taken"
    shared = {around.block for around in shape.nodes[seen_from[0]].blocks} if seen_from else set()
    for around in reversed(node.blocks):
        if around.block in shared:
            return "taken"  # rescue and always steps begin because of it; others of the block would be skipped
        rescue = [name for name in shape.members.get((around.block, "rescue"), ()) if covers(shape, name, key[1])]
        closing = [name for name in shape.members.get((around.block, "always"), ()) if covers(shape, name, key[1])]
        if around.role == "block" and rescue:
            words = [world.last.get((name, one)) for name in rescue for one in shape.nodes[name].hosts
                     if one == key[1] or shape.nodes[name].single]
            if any(word in (None, "Intent") for word in words):
                return "open"
            return "taken"  # a rescue that failed is a failure of its own
        if around.role != "always" and any(
                world.last.get((name, one)) in (None, "Intent") for name in closing
                for one in shape.nodes[name].hosts if one == key[1] or shape.nodes[name].single):
            return "open"
    return "fatal"


def covers(shape: Shape, name: str, host: str) -> bool:
    """Whether a step runs on ``host`` or for all hosts at once."""
    node = shape.nodes[name]
    return host in node.hosts or (node.single and any(
        host in batch and node.hosts[0] in batch for batch in shape.batches))
