"""The conductor: what may start now, and what does this outcome mean? Pure: no clock, no I/O, no randomness.

It is a state machine over journal events. Drivers feed it every event that became durable (`record`), ask what the run
has to decide (`decide`) and what may start (`ready`). The same conductor runs for real, in the simulator with a virtual
clock, and in replay from a journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ultraplan.engine.shape import Shape, ShapeNode
from ultraplan.engine.states import SETTLED, UNDER_WAY, OpState, ProtocolError, after
from ultraplan.engine.unwind import Unwind
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    Intent,
    OpEvent,
    Prepared,
    Record,
    RollbackDecided,
    RunClosed,
    TakenOver,
)

Key = tuple[str, str]
"""(node id, host)."""

_FINE = frozenset({OpState.SKIPPED, OpState.UNCHANGED, OpState.VERIFIED})


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


@dataclass(slots=True)
class _Batch:
    """Counters of the batch that is under way."""

    hosts: frozenset[str]
    left: dict[str, int] = field(default_factory=dict)             # node -> hosts that are not settled
    node_waits: dict[str, int] = field(default_factory=dict)       # node -> needs that hold all its hosts back
    host_waits: dict[Key, int] = field(default_factory=dict)       # op -> needs on the same host (strategy free)
    open: dict[Key, None] = field(default_factory=dict)            # may start, in order
    unsettled: int = 0


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
        self.failures: dict[Key, Failed] = {}
        self.past_no_return: Key | None = None
        """An irreversible operation that may have had its effect."""
        self.unwind = Unwind(shape)
        self._batch_index = -1
        self._batch = _Batch(frozenset())
        self._next_batch()

    # -- what happened ------------------------------------------------------------------------------------------

    def replay(self, records: Iterable[Record]) -> None:
        """Record the events of a journal."""
        for record in records:
            self.record(record.event, record.seq)

    def record(self, event: AnyEvent, seq: int) -> None:
        """Take in one durable event and its place in the journal; raises `ProtocolError` for one that cannot be."""
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
            self.closed = None
            self._reopen(event)

    def _forward(self, event: OpEvent, seq: int) -> None:
        key = (event.node, event.host)
        before = self.forward.get(key, OpState.PENDING)
        now = after(before, event)  # type: ignore[arg-type]
        if isinstance(event, Intent):
            if event.host in self.unwinding:
                raise ProtocolError(f"an effect of {event.node!r} on {event.host!r} after its rollback was decided")
            self.unwind.happened(key, seq)
            if self.shape.nodes[event.node].irreversible:
                self.past_no_return = key
        elif isinstance(event, Prepared):
            self.unwind.prepared(key, event)
        elif isinstance(event, Failed):
            self.failures[key] = event
        self.forward[key] = now
        self._batch.open.pop(key, None)
        if now in SETTLED and before not in SETTLED:
            self._settle(key)

    def _decided(self, event: RollbackDecided) -> None:
        hosts = self._all_hosts() if event.hosts is None else event.hosts
        if event.hosts is None:
            self.going_back = event
        for host in hosts:
            self.unwinding.setdefault(host, event)
            for key in [key for key in self._batch.open if key[1] == host]:
                del self._batch.open[key]
            for node in self.shape.nodes:
                key = (node, host)
                if host in self._batch.hosts and self._runs_on(node, host) and not self._settled(key):
                    self._settle(key)
        self.unwind.start(hosts, self._batch_of)
        if self.going_back is None and self._batch.unsettled == 0:
            self._next_batch_when_fine()

    def _reopen(self, event: TakenOver) -> None:
        """Somebody goes on with the run: what failed gets another chance unless it goes back."""
        if event.verb == "resume":
            for key in list(self.failures):
                if (key[1] not in self.unwinding and self.forward[key] is OpState.FAILED and self._fatal(key)
                        and key[1] in self._batch.hosts):
                    self._unsettle(key)
        self.unwind.reopen()

    # -- what it means ------------------------------------------------------------------------------------------

    def decide(self) -> AnyEvent | None:
        """The decision that is due, or None. The driver makes it durable and records it before anything else.

        A rollback is due only when nothing of the hosts that would go back is under way.
        """
        if self.closed:
            return None
        if self.going_back is None:
            found = self._verdict_on_failures()
            if found is not None:
                return found
        if self.unwind.finished and self._nothing_under_way():
            return self._closing()
        return None

    def _verdict_on_failures(self) -> AnyEvent | None:
        fatal: dict[str, Key] = {}
        for key in self.failures:
            if key[1] not in self.unwinding and self.forward.get(key) is OpState.FAILED and self._fatal(key):
                fatal.setdefault(key[1], key)
        if not fatal:
            return None
        stops = [key for key in fatal.values() if self.shape.nodes[key[0]].on_failure == "stop"]
        if stops:
            return self._close_when_quiet("failed", f"{self._cause(stops[0])}; the plan says to stop")
        if self.past_no_return is not None:
            node, host = self.past_no_return
            cause = f"{self._cause(next(iter(fatal.values())))}; after {node} on {host} there is no way back"
            return self._close_when_quiet("paused", cause)
        hosts: list[str] | None
        if self._within_budget(fatal):
            scope, hosts = "host", sorted(fatal)
        else:
            scope = self.shape.rollback_scope
            hosts = {"run": None, "batch": sorted(self._batch.hosts), "host": sorted(fatal)}[scope]
        if self._under_way_on(hosts):
            return None
        return RollbackDecided(scope=scope, cause=self._cause(next(iter(fatal.values()))), hosts=hosts)  # type: ignore[arg-type]

    def _within_budget(self, fatal: dict[str, Key]) -> bool:
        """Whether the batch's failures stay within the plan's budgets, counted against the batch's original size."""
        lost = {key[1]: failure for key, failure in self.failures.items()
                if key[1] in fatal or key[1] in self.unwinding}
        here = {host: failure for host, failure in lost.items() if host in self._batch.hosts}
        size = max(1, len(self._batch.hosts))
        away = 100 * sum(failure.unreachable for failure in here.values()) / size
        failed = 100 * sum(not failure.unreachable for failure in here.values()) / size
        everyone = len(here) == len(self._batch.hosts)
        return (failed <= self.shape.max_fail_percentage and away <= self.shape.max_unreachable_percentage
                and not everyone)

    @property
    def draining(self) -> frozenset[str] | None:
        """Hosts on which nothing new may begin because a failure waits for work to end; None: all of them."""
        hosts = {key[1] for key in self.failures if self.forward.get(key) is OpState.FAILED
                 and key[1] not in self.unwinding and self._fatal(key)}
        if not hosts:
            return frozenset()
        fatal = {host: next(k for k in self.failures if k[1] == host) for host in hosts}
        quiet = self.past_no_return is None and not any(
            self.shape.nodes[key[0]].on_failure == "stop" for key in fatal.values())
        return frozenset(hosts) if quiet and self._within_budget(fatal) else None

    def _closing(self) -> AnyEvent | None:
        if self.going_back is not None:
            status = "rolled_back" if not self.unwind.residue else "rollback_incomplete"
            return RunClosed(status=status, cause=self.going_back.cause, residue=self.unwind.residue)
        if any(state is OpState.IN_DOUBT for state in self.forward.values()):
            doubtful = next(key for key, state in self.forward.items() if state is OpState.IN_DOUBT)
            return RunClosed(status="paused", cause=f"whether {doubtful[0]} on {doubtful[1]} was done is in doubt")
        if self._batch.unsettled:
            return None
        if self.unwinding:
            first = next(iter(self.unwinding.values()))
            if self.unwind.residue:
                return RunClosed(status="rollback_incomplete", cause=first.cause, residue=self.unwind.residue)
            stopped = first.scope != "host" or all(host in self.unwinding for host in self._all_hosts())
            over = len(self.unwinding) == len(self._all_hosts())
            return RunClosed(status="rolled_back" if over and stopped else "failed", cause=first.cause)
        return RunClosed(status="succeeded")

    def _close_when_quiet(self, status: str, cause: str) -> AnyEvent | None:
        return RunClosed(status=status, cause=cause) if self._nothing_under_way() else None

    def _fatal(self, key: Key) -> bool:
        """Whether this failure reaches the run: no rescue took it, and every ``always`` on its way out has ended."""
        node = self.shape.nodes[key[0]]
        if node.on_failure == "continue":
            return False
        for around in reversed(node.blocks):
            rescue = self.shape.members.get((around.block, "rescue"), ())
            if around.role == "block" and rescue:
                return False  # the rescue answers for it; where the rescue fails, that failure is the fatal one
            closing = self.shape.members.get((around.block, "always"), ())
            if around.role != "always" and any(
                    self._runs_on(name, key[1]) and not self._settled((name, key[1])) for name in closing):
                return False
        return True

    # -- what may start -----------------------------------------------------------------------------------------

    def ready(self) -> list[Action]:
        """Everything that may start now, in the plan's order. The driver journals it before it asks again."""
        if self.closed:
            return []
        actions: list[Action] = [Run(node, host, "reverse") if run else Skip(node, host, why, "reverse")
                                 for node, host, run, why in self.unwind.ready()]
        if self.going_back is not None or any(s is OpState.IN_DOUBT for s in self.forward.values()):
            return actions
        draining = self.draining
        if draining is None:
            return actions
        for key in self._batch.open:
            if key[1] not in draining and key[1] not in self.unwinding:
                why = self._not_needed(key)
                actions.append(Run(*key) if why is None else Skip(*key, why))
        return actions

    def may_effect(self, key: Key) -> bool:
        """Whether a forward effect may still begin (asked under the driver's lock right before INTENT)."""
        if self.closed or self.going_back is not None or key[1] in self.unwinding:
            return False
        draining = self.draining
        return draining is not None and key[1] not in draining

    def _not_needed(self, key: Key) -> str | None:
        """Why the blocks around an operation make it needless on this host, or None."""
        node, host = self.shape.nodes[key[0]], key[1]
        for around in node.blocks:
            if around.role == "rescue" and not self._broken(around.block, "block", host):
                return "nothing to rescue"
            if self._broken(around.block, around.role, host, besides=node):
                return "an earlier step of the block failed"
        return None

    def _broken(self, block: str, role: str, host: str, besides: ShapeNode | None = None) -> bool:
        """Whether a failure inside this part of the block on this host left it (was not rescued further in)."""
        for name in self.shape.members.get((block, role), ()):
            key = (name, host)
            if self.forward.get(key) is not OpState.FAILED or (besides is not None and name == besides.id):
                continue
            node = self.shape.nodes[name]
            if node.on_failure == "continue":
                continue
            inner = node.blocks[[b.block for b in node.blocks].index(block) + 1:]
            if not any(b.role == "block" and self.shape.members.get((b.block, "rescue"))
                       and not self._broken(b.block, "rescue", host) for b in inner):
                return True
        return False

    # -- batches and counters -----------------------------------------------------------------------------------

    def _next_batch(self) -> None:
        """Set up the next batch; a batch in which nothing runs is passed over."""
        while self._batch.unsettled == 0 and self._batch_index + 1 < max(1, len(self.shape.batches)):
            self._batch_index += 1
            hosts = self.shape.batches[self._batch_index] if self.shape.batches else ()
            self._batch = batch = _Batch(frozenset(hosts))
            for node in self.shape.nodes.values():
                keys = [(node.id, host) for host in node.hosts
                        if host in batch.hosts and not self._settled((node.id, host))
                        and host not in self.unwinding]
                batch.left[node.id] = len(keys)
                batch.unsettled += len(keys)
            for node in self.shape.nodes.values():
                self._count_waits(node)

    def _count_waits(self, node: ShapeNode) -> None:
        batch = self._batch
        batch.node_waits[node.id] = sum(
            1 for need in node.needs if not self._same_host(need, node.id) and batch.left[need] > 0)
        for host in node.hosts:
            key = (node.id, host)
            if host not in batch.hosts or self._settled(key) or host in self.unwinding:
                continue
            waits = sum(1 for need in node.needs if self._same_host(need, node.id) and self._runs_on(need, host)
                        and not self._settled((need, host)))
            batch.host_waits[key] = waits
            if waits == 0 and batch.node_waits[node.id] == 0:
                batch.open[key] = None

    def _settle(self, key: Key) -> None:
        node, host = key
        if host not in self._batch.hosts:
            return
        batch = self._batch
        batch.left[node] -= 1
        batch.unsettled -= 1
        batch.host_waits.pop(key, None)
        for later in self.shape.successors[node]:
            if self._same_host(node, later):
                waiting = (later, host)
                if waiting in batch.host_waits:
                    batch.host_waits[waiting] -= 1
                    self._open_if_free(waiting)
            elif batch.left[node] == 0:
                batch.node_waits[later] -= 1
                if batch.node_waits[later] == 0:
                    for other in self.shape.nodes[later].hosts:
                        self._open_if_free((later, other))
        if batch.unsettled == 0 and self.going_back is None:
            self._next_batch_when_fine()

    def _open_if_free(self, key: Key) -> None:
        if (self._batch.host_waits.get(key) == 0 and self._batch.node_waits[key[0]] == 0
                and self.forward.get(key, OpState.PENDING) is OpState.PENDING):
            self._batch.open[key] = None

    def _next_batch_when_fine(self) -> None:
        if not any(self._fatal(key) for key, state in self.forward.items()
                   if state is OpState.FAILED and key[1] not in self.unwinding):
            self._next_batch()

    def _unsettle(self, key: Key) -> None:
        """A failed operation may be tried again."""
        self.failures.pop(key, None)
        self.forward[key] = OpState.PENDING
        batch = self._batch
        batch.host_waits[key] = 0
        batch.left[key[0]] += 1
        batch.unsettled += 1
        for later in self.shape.successors[key[0]]:
            if self._same_host(key[0], later):
                if (later, key[1]) in batch.host_waits:
                    batch.host_waits[later, key[1]] += 1
                    batch.open.pop((later, key[1]), None)
            elif batch.left[key[0]] == 1:
                batch.node_waits[later] += 1
                for other in self.shape.nodes[later].hosts:
                    batch.open.pop((later, other), None)
        self._open_if_free(key)

    def abandon(self, key: Key, direction: str) -> None:
        """An operation that began did nothing and may begin again (a failure elsewhere or a crash held it back)."""
        if direction == "reverse":
            self.unwind.abandon(key)
        elif self.forward.get(key) in UNDER_WAY:
            if self.forward[key] in (OpState.STARTED, OpState.PREPARED):
                self.forward[key] = OpState.PENDING
            self._batch.open[key] = None

    # -- small questions ----------------------------------------------------------------------------------------

    def state(self, node: str, host: str) -> OpState:
        """Where the forward operation stands."""
        return self.forward.get((node, host), OpState.PENDING)

    def under_way(self) -> list[Key]:
        """Forward operations that began and have not ended (after a crash: what has to be reconciled)."""
        return [key for key, state in self.forward.items() if state in UNDER_WAY]

    def _settled(self, key: Key) -> bool:
        return self.forward.get(key) in SETTLED

    def _same_host(self, need: str, node: str) -> bool:
        """Whether this edge holds back a host only for itself (strategy free) rather than all for all."""
        return self.shape.free and not self.shape.nodes[need].single and not self.shape.nodes[node].single

    def _runs_on(self, node: str, host: str) -> bool:
        return host in self.shape.nodes[node].hosts

    def _all_hosts(self) -> list[str]:
        return [host for batch in self.shape.batches for host in batch]

    def _batch_of(self, host: str) -> int:
        return next((index for index, batch in enumerate(self.shape.batches) if host in batch), 0)

    def _under_way_on(self, hosts: list[str] | None) -> bool:
        return any(state in UNDER_WAY and (hosts is None or key[1] in hosts) and key[1] not in self.unwinding
                   for key, state in self.forward.items())

    def _nothing_under_way(self) -> bool:
        return not self.unwind.under_way() and not any(
            state in UNDER_WAY and key[1] not in self.unwinding for key, state in self.forward.items())

    def _cause(self, key: Key) -> str:
        return f"{key[0]} on {key[1]}: {self.failures[key].error}"
