"""The conductor: what may start now, and what does this outcome mean? Pure: no clock, no I/O, no randomness.

It is a state machine over journal events. Drivers feed it every event that became durable (`record`), ask what the run
has to decide (`decide`) and what may start (`ready`). The same conductor runs for real, in the simulator with a virtual
clock, and in replay from a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ultraplan.engine.blocks import BROKEN, Blocks
from ultraplan.engine.frontier import Frontier
from ultraplan.engine.losses import Losses
from ultraplan.engine.shape import Key, Shape
from ultraplan.engine.states import SETTLED, UNDER_WAY, OpState, ProtocolError, after
from ultraplan.engine.unwind import Unwind
from ultraplan.journal.events import (
    Answered,
    AnyEvent,
    Asked,
    Failed,
    InDoubt,
    Intent,
    Left,
    OpEvent,
    Outcome,
    Prepared,
    Record,
    Resolved,
    RollbackDecided,
    RunClosed,
    Skipped,
    TakenOver,
)


@dataclass(frozen=True, slots=True)
class Run:
    """Start this operation in this direction."""

    node: str
    host: str
    direction: str = "forward"


@dataclass(frozen=True, slots=True)
class Skip:
    """This operation is not needed; the driver journals it as skipped."""

    node: str
    host: str
    why: str
    direction: str = "forward"


Action = Run | Skip


class Conductor:
    """The state of one run. Build it anew from a journal by recording its events in order."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.forward: dict[Key, OpState] = {}
        self.closed: str | None = None
        self.going_back: RollbackDecided | None = None
        """The decision that the whole run goes back, if it was taken."""
        self.unwinding: dict[str, RollbackDecided] = {}
        """Hosts that go back, each with the decision that says so."""
        self.past_no_return: Key | None = None
        """An irreversible operation that may have had its effect."""
        self.unwind = Unwind(shape)
        self._needless: set[Key] = set()        # skipped because something else in its block failed
        self._blocks = Blocks(shape, self.forward, self._needless)
        self._losses = Losses(shape, self.forward, self._blocks)
        self._frontier = Frontier(shape)
        self._batch_index = -1
        self._busy: dict[Key, None] = {}        # somebody works on it, or has to find out how it ended
        self._doubtful: dict[Key, None] = {}
        self._interrupted: set[Key] = set()     # its effect was under way when a process died: how did it end?
        self._unanswered: set[Key] = set()      # the last attempt may have had its effect, which is not verified
        self._touched: set[Key] = set()         # an attempt that ended may have changed something
        self._held: set[Key] = set()            # was sent ahead: has its turn when what comes before it is settled
        self._reopened: set[Key] = set()        # tried again after the run was taken over, and not settled yet
        self._next_batch()

    @property
    def failures(self) -> Mapping[Key, Failed]:
        """The operations that failed, as far as they were not begun anew."""
        return self._losses.failures

    # -- what happened ------------------------------------------------------------------------------------------

    def replay(self, records: Iterable[Record]) -> None:
        """Record the events of a journal."""
        for record in records:
            self.record(record.event, record.seq)

    def record(self, event: AnyEvent, seq: int) -> None:
        """Take in one durable event and its place in the journal; raises `ProtocolError` for one that cannot be."""
        if isinstance(event, (Asked, Answered)):
            return  # a step that talks with a person is under way, and stays so
        if isinstance(event, OpEvent):
            if event.node not in self.shape.nodes:
                raise ProtocolError(f"the journal speaks of a step {event.node!r} that the plan does not have")
            if event.direction == "reverse":
                self.unwind.record(event)
            else:
                self._forward(event, seq)
        elif isinstance(event, RollbackDecided):
            self._decided(event)
        elif isinstance(event, RunClosed):
            self.closed = event.status
        elif isinstance(event, TakenOver):
            ended, self.closed = self.closed, None
            if event.verb == "resume":
                if ended == "failed":  # not while something under way rests on what a lost host missed
                    self._forward_again()
                self._try_again()
            self.unwind.reopen()
            for key in self.under_way():  # of the process before, nobody works on them any more
                self.abandon(key, "forward")
            for key in self.unwind.under_way():
                self.abandon(key, "reverse")

    def _forward(self, event: OpEvent, seq: int) -> None:
        key = (event.node, event.host)
        before = self.forward.get(key, OpState.PENDING)
        now = after(before, event)  # type: ignore[arg-type]
        match event:
            case Intent():
                if event.host in self.unwinding:
                    raise ProtocolError(f"an effect of {event.node!r} on {event.host!r} after its rollback was decided")
                self.unwind.happened(key, seq)
                if self.shape.nodes[event.node].irreversible:
                    self.past_no_return = key
            case Prepared():
                self.unwind.prepared(key, event)
            case InDoubt() | Outcome(began=True):
                self._touched.add(key)
            case Outcome() if key not in self._touched:
                self.unwind.never_began(key)
            case Failed():
                self._losses.failures[key] = event
            case Skipped() if self._blocks.not_needed(key) == BROKEN:
                self._needless.add(key)
            case Resolved():
                self.unwind.settled_forward(key)
        self._now(key, now)
        if now is OpState.INTENT and isinstance(event, Intent):
            self._unanswered.add(key)
        elif now in (OpState.MISSED, OpState.VERIFIED, OpState.IN_DOUBT):
            self._unanswered.discard(key)
        if now in SETTLED and before not in SETTLED and event.host not in self.unwinding:
            self._reopened.discard(key)
            self._settle(key)

    def _now(self, key: Key, state: OpState) -> None:
        self.forward[key] = state
        self._interrupted.discard(key)
        self._held.discard(key)
        self._frontier.open.pop(key, None)
        for keys, belongs in ((self._busy, state in UNDER_WAY), (self._doubtful, state is OpState.IN_DOUBT)):
            if belongs and key[1] not in self.unwinding:
                keys[key] = None
            else:
                keys.pop(key, None)

    def _settle(self, key: Key) -> None:
        self._frontier.settle(key, self._may_open)
        for held in [one for one in self._held if one in self._frontier.open]:
            self._held.discard(held)
            if held in self._interrupted:
                self._busy[held] = None
        if self._frontier.unsettled == 0:
            self._next_batch()

    def _decided(self, event: RollbackDecided) -> None:
        hosts = self._all_hosts() if event.hosts is None else event.hosts
        if event.hosts is None:
            self.going_back = event
        self._losses.took(hosts, self.unwinding)
        for host in hosts:
            self.unwinding.setdefault(host, event)
        for keys in (self._busy, self._doubtful):
            for key in [key for key in keys if key[1] in self.unwinding]:
                del keys[key]
        self.unwind.start(hosts)
        for host in hosts:
            for node in self.shape.nodes:
                self._frontier.settle((node, host), self._may_open)
        if self._frontier.unsettled == 0:
            self._next_batch()

    def _forward_again(self) -> None:
        """Somebody goes on with a run that had failed: hosts that went back with nothing undone on them (they could not
        be reached, say) have lost nothing, and go forward again. Where anything was undone, a rollback is final."""
        if self.going_back is not None:
            return
        again = [host for host in self.unwinding if self.unwind.untouched(host)]
        if not again:
            return
        for host in again:
            del self.unwinding[host]
            self._losses.took_none(host)
            self.unwind.forget(host)
        for key in [key for key, state in self.forward.items() if state is OpState.IN_DOUBT and key[1] in again]:
            self._now(key, OpState.INTENT)  # its way back found out that it never began
        self._batch_index = min(self._batch_index, *map(self.shape.batch_of, again))
        self._frontier.fill(frozenset(self.shape.batches[self._batch_index]), self._over, self._startable)
        if self._frontier.unsettled == 0:
            self._next_batch()

    def _try_again(self) -> None:
        """Somebody goes on with the run: what failed gets another chance unless it goes back."""
        again = [key for key in self.failures if key[1] not in self.unwinding
                 and self.forward[key] is OpState.FAILED and self._blocks.fatal(key)]
        if not again:
            return
        self._reopened.update(again)
        for key in again:
            del self._losses.failures[key]
            self._now(key, OpState.INTENT if key in self._unanswered else OpState.PENDING)
        while freed := [key for key in self._needless if key[1] not in self.unwinding
                        and self._blocks.not_needed(key) is None]:  # one may have been needless because of another
            for key in freed:
                self._needless.discard(key)
                self._reopened.add(key)
                self._now(key, OpState.PENDING)
        self._frontier.fill(self._frontier.hosts, self._over, self._startable)

    def abandon(self, key: Key, direction: str) -> None:
        """Nobody works on an operation any more that began and has not ended: it may begin again. One that was sent
        ahead waits for its turn first; should that never come, its undo finds out how it ended."""
        if direction == "reverse":
            self.unwind.abandon(key)
            return
        state = self.forward.get(key)
        if state in (OpState.STARTED, OpState.PREPARED):
            self._now(key, OpState.PENDING)
        if state not in UNDER_WAY or key[1] in self.unwinding:
            return
        if state is OpState.MISSED:
            self._busy.pop(key, None)
        elif state in (OpState.INTENT, OpState.DONE):
            self._interrupted.add(key)
        if not self._frontier.offer(key) and state not in (OpState.STARTED, OpState.PREPARED):
            self._held.add(key)
            self._busy.pop(key, None)

    # -- what it means ------------------------------------------------------------------------------------------

    def decide(self) -> AnyEvent | None:
        """The decision that is due, or None. The driver makes it durable and records it before anything else.

        A rollback is due only when nothing of the hosts that would go back is under way, and the ``always`` steps of
        the blocks in which something failed had their turn.
        """
        if self.closed:
            return None
        if self.going_back is None:
            fatal = self._fatal()
            if fatal:
                return self._verdict(fatal)
        if self.unwind.finished and self._quiet():
            return self._closing()
        return None

    def _verdict(self, fatal: dict[str, Key]) -> AnyEvent | None:
        first = next(iter(fatal.values()))
        stop = next((key for key in fatal.values() if self.shape.nodes[key[0]].on_failure == "stop"), None)
        if stop is not None:
            return self._close_when_quiet("failed", f"{self._cause(stop)}; the plan says to stop")
        if self.past_no_return is not None:
            node, host = self.past_no_return
            cause = f"{self._cause(first)}; after {node} on {host} there is no way back"
            return self._close_when_quiet("paused", cause)
        hosts: list[str] | None
        if self._affordable(fatal):
            scope, hosts = "host", sorted(fatal)
        else:
            scope = self.shape.rollback_scope
            hosts = {"run": None, "batch": sorted(self._frontier.hosts), "host": sorted(fatal)}[scope]
        if self._tidying(hosts) or any(hosts is None or key[1] in hosts for key in self._busy):
            return None
        return RollbackDecided(scope=scope, cause=self._cause(first), hosts=hosts)  # type: ignore[arg-type]

    def _fatal(self) -> dict[str, Key]:
        """Hosts that do not go back yet with the failure for which they should."""
        return self._losses.fatal(self.unwinding)

    def _affordable(self, fatal: Mapping[str, Key]) -> bool:
        """Whether the batch may go on without the hosts that it lost, and those of ``fatal``."""
        return self._losses.within_budget(self._frontier.hosts, fatal)

    def _draining(self) -> frozenset[str] | None:
        """Hosts on which nothing new may begin because a failure waits for work to end; None: all of them."""
        fatal = self._fatal()
        if not fatal and not self._losses.any_host:
            return frozenset()
        stops = any(self.shape.nodes[key[0]].on_failure == "stop" for key in fatal.values())
        if stops or (fatal and self.past_no_return is not None) or not self._affordable(fatal):
            return None
        return frozenset(fatal)

    def _tidying(self, hosts: list[str] | None = None) -> bool:
        """Whether ``always`` steps after a failure (and skips that lead to them) are about to start."""
        def due(key: Key) -> bool:
            if key[1] in self.unwinding or (hosts is not None and key[1] not in hosts) or self._waits(key):
                return False
            if self._startable(key) and self._blocks.not_needed(key) is not None:
                return True
            return self._blocks.closes(key) and not self._blocks.holds(key)

        return not self._doubtful and (any(due(key) for key in self._frontier.open) or any(
            hosts is None or key[1] in hosts for key in self._stranded()))

    def _stranded(self) -> list[Key]:
        """What would close a broken block on its host, and waits for hosts that will not go on any more: when all new
        work has stopped for good, each host closes its blocks for itself."""
        if self._busy or self._draining() is not None:
            return []
        return [key for key in self._blocks.unfinished(self._frontier.hosts)
                if key not in self._frontier.open and self._startable(key) and not self._blocks.holds(key)
                and not any(other[1] == key[1] and self.shape.follows(key[0], other[0]) for other in self._reopened)
                and all(place is None or self._over(place)
                        for place in (self.shape.place(need, key[1]) for need in self.shape.needs[key[0]]))]

    def _closing(self) -> AnyEvent | None:
        if self.going_back is not None:
            return self._closed_with_left("rolled_back", self.going_back.cause)
        if self._doubtful:
            node, host = next(iter(self._doubtful))
            return RunClosed(status="paused", cause=f"whether {node} on {host} was done is in doubt")
        if self._frontier.unsettled and self._affordable({}):
            return None
        if self.unwinding:
            cause = next(iter(self.unwinding.values())).cause
            everyone = len(self.unwinding) == len(self._all_hosts())
            return self._closed_with_left("rolled_back" if everyone else "failed", cause)
        return RunClosed(status="succeeded")

    def _closed_with_left(self, status: str, cause: str) -> RunClosed:
        """Closed as ``status``, unless a rollback left something as it is."""
        left = self.unwind.left
        if any(one.kind != "irreversible" for one in left):
            status = "rollback_incomplete"
        elif left and status == "rolled_back":
            status = "rolled_back_in_part"
        return _closed(status, cause, left)

    def _close_when_quiet(self, status: str, cause: str) -> AnyEvent | None:
        if self._tidying() or not self.unwind.finished or not self._quiet():
            return None
        return _closed(status, cause, self.unwind.left)

    # -- what may start -----------------------------------------------------------------------------------------

    def ready(self) -> list[Action]:
        """Everything that may start now, in the plan's order. The driver journals it before it asks again."""
        if self.closed:
            return []
        actions: list[Action] = [Run(node, host, "reverse") if run else Skip(node, host, why, "reverse")
                                 for node, host, run, why in self.unwind.ready()]
        if self.going_back is not None:
            return actions
        draining = self._draining()
        for key in self._frontier.open:
            if key[1] in self.unwinding:
                continue
            if key in self._interrupted:  # how it ended has to be found out whatever comes next
                actions.append(Run(*key))
            elif self._doubtful or self._waits(key):
                continue
            elif (why := self._blocks.not_needed(key)) is not None and self._startable(key):
                actions.append(Skip(*key, why))
            elif self._may_begin(key, draining):
                actions.append(Run(*key))
        for key in self._stranded() if draining is None and not self._doubtful else ():
            why = self._blocks.not_needed(key)
            actions.append(Run(*key) if why is None else Skip(*key, why))
        return actions

    def ahead(self, key: Key, fits: Callable[[str], bool], most: int) -> list[Key]:
        """``key``, which may start, and what may be sent to its host together with it, in order, ``most`` in all: each
        waits for nothing but those before it, there. Asked before ``key`` is begun. ``fits``: nodes that may be part.
        """
        chain = [key]
        calm = self._untouched(key) and not (self.failures or self._doubtful or self._reopened)
        while calm and len(chain) < most and self._plain(chain[-1][0]) and fits(chain[-1][0]):
            following = next((later for later in self.shape.successors[chain[-1][0]]
                              if self._plain(later) and fits(later) and self._untouched((later, key[1]))
                              and self._frontier.waits_only_for(chain, (later, key[1]))), None)
            if following is None:
                break
            chain.append((following, key[1]))
        return chain

    def _untouched(self, key: Key) -> bool:
        """Whether nobody works on an operation, and nothing of it ever began."""
        missed = self.forward.get(key) is OpState.MISSED and key not in self._touched and key not in self._busy
        return self._startable(key) or (missed and key[1] not in self.unwinding)

    def _plain(self, node: str) -> bool:
        """Whether a failure of this node means but one thing: nothing after it begins."""
        found = self.shape.nodes[node]
        return not (found.blocks or found.irreversible or found.single) and found.on_failure == "rollback"

    def _waits(self, key: Key) -> bool:
        """Whether something that is tried again comes before ``key`` (steps between them may be over already)."""
        return any(self.shape.follows(key[0], other[0]) and (not self.shape.free or self.shape.tied(other, key))
                   for other in self._reopened if other[1] not in self.unwinding)

    def _may_begin(self, key: Key, draining: frozenset[str] | None) -> bool:
        if self.failures and self._blocks.holds(key):
            return False
        return (draining is not None and key[1] not in draining) or self._blocks.closes(key)

    def may_effect(self, key: Key) -> bool:
        """Whether a forward effect may still begin (asked under the driver's lock right before INTENT)."""
        if self.closed or self.going_back is not None or key[1] in self.unwinding:
            return False
        draining = self._draining()
        return (draining is not None and key[1] not in draining) or self._blocks.closes(key)

    def in_doubt(self) -> list[tuple[Key, str]]:
        """What only a person can know: operations, each with the direction that the question is about. Whether to undo
        a step of which it is not known whether it was done is a question about the step."""
        found = [(key, "forward") for key in self._doubtful]
        return found + [(key, "reverse" if key in self.unwind.tried else "forward")
                        for key, state in self.unwind.state.items() if state is OpState.IN_DOUBT]

    # -- small questions ----------------------------------------------------------------------------------------

    def state(self, node: str, host: str) -> OpState:
        """Where the forward operation stands."""
        return self.forward.get((node, host), OpState.PENDING)

    def under_way(self) -> list[Key]:
        """Forward operations that began and have not ended (after a crash: what has to be reconciled)."""
        return [key for key, state in self.forward.items() if state in UNDER_WAY]

    def _next_batch(self) -> None:
        """Go on to the next batch, where all is well with this one; a batch in which nothing runs is passed over."""
        while self._frontier.unsettled == 0 and self._batch_index + 1 < len(self.shape.batches):
            if self.going_back is not None or self._fatal() or not self._affordable({}):
                return
            self._batch_index += 1
            hosts = frozenset(self.shape.batches[self._batch_index])
            self._frontier.fill(hosts, self._over, self._startable)

    def _over(self, key: Key) -> bool:
        return self.forward.get(key) in SETTLED or key[1] in self.unwinding

    def _startable(self, key: Key) -> bool:
        return self.forward.get(key, OpState.PENDING) is OpState.PENDING and key[1] not in self.unwinding

    def _may_open(self, key: Key) -> bool:
        return key in self._held or self._startable(key)

    def _quiet(self) -> bool:
        return not self._busy and not self.unwind.under_way()

    def _all_hosts(self) -> list[str]:
        return [host for batch in self.shape.batches for host in batch]

    def _cause(self, key: Key) -> str:
        return f"{key[0]} on {key[1]}: {self.failures[key].error}"


def _closed(status: str, cause: str, left: list[Left]) -> RunClosed:
    return RunClosed(status=status, cause=cause, left=left,
                     residue=[f"{one.node} on {one.host}: {one.why}" for one in left])
