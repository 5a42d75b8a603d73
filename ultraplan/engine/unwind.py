"""The way back as a pure state machine: which undo may start now, and what is left where one cannot be done.

The order is the reverse of what really ran: on one host strictly by the journal's order, across hosts by the graph
(a step is undone on a host only when what came after it, in the graph and in time, is undone everywhere it ran), later
batches first. Of what may be undone, the operation that ran last can always start: there is no standstill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from ultraplan.engine.shape import Key, Shape
from ultraplan.engine.states import SETTLED, UNDER_WAY, OpState, ProtocolError, after
from ultraplan.journal.events import Failed, InDoubt, Intent, Left, OpEvent, Prepared, Resolved

NO_WAY_BACK = "irreversible"
"""`Prepared.way_back` of an operation that cannot be undone."""


class Unwind:
    """The reverse half of a run's state. ``happened`` and ``prepared`` fill it while the run goes forward."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._seq: dict[Key, int] = {}              # what may have had an effect -> its first INTENT's place
        self._ways: dict[Key, Prepared] = {}        # the first PREPARED of each: its pre-image is the true one
        self.state: dict[Key, OpState] = {}         # the reverse operations, once the way back was decided
        self._stacks: dict[str, list[Key]] = {}     # host -> its operations, the last that ran at the end
        self._open_at: dict[tuple[str, int], dict[Key, None]] = {}  # node, batch -> its reverse operations not settled
        self._troubles: dict[Key, Failed | InDoubt] = {}
        self._behind: dict[Key, Key] = {}           # left alone -> what after it could not be undone
        self._again: set[Key] = set()               # under way when a process died: may begin again
        self._unanswered: set[Key] = set()          # the last attempt may have done it, which is not verified
        self.tried: set[Key] = set()
        """Reverse operations that may have had an effect."""

    def happened(self, key: Key, seq: int) -> None:
        """A forward INTENT became durable."""
        self._seq.setdefault(key, seq)

    def prepared(self, key: Key, event: Prepared) -> None:
        """A forward PREPARED became durable; only the first counts, or after `never_began` the next."""
        self._ways.setdefault(key, event)

    def never_began(self, key: Key) -> None:
        """No attempt touched anything, and none will: what was there before is still to be seen."""
        self._ways.pop(key, None)

    def way_of(self, key: Key) -> Prepared | None:
        """The way back of an operation, as it was made durable before its effect."""
        return self._ways.get(key)

    def ran(self, host: str) -> list[Key]:
        """What may have had an effect on ``host``, in the order it began."""
        return sorted((key for key in self._seq if key[1] == host), key=lambda key: self._seq[key])

    def start(self, hosts: Iterable[str]) -> None:
        """The way back was decided for ``hosts``."""
        by_host: dict[str, list[Key]] = {}
        for key in sorted(self._seq, key=lambda key: self._seq[key]):
            by_host.setdefault(key[1], []).append(key)
        for host in hosts:
            if host not in self._stacks:
                self._stacks[host] = by_host.get(host, [])
                for key in self._stacks[host]:
                    self._set(key, OpState.PENDING)
        self._leave_alone()

    def record(self, event: OpEvent) -> None:
        """Take in one reverse event; raises `ProtocolError`."""
        key = (event.node, event.host)
        if key not in self.state:
            raise ProtocolError(f"{event.node!r} on {event.host!r} is undone, but nobody decided that or it never ran")
        now = after(self.state[key], event)  # type: ignore[arg-type]
        self._again.discard(key)
        if isinstance(event, Intent):
            self._unanswered.add(key)
            self.tried.add(key)
        elif now in (OpState.MISSED, OpState.VERIFIED, OpState.IN_DOUBT):
            self._unanswered.discard(key)
        if isinstance(event, Failed | InDoubt):
            self._troubles[key] = event
        self._set(key, now)
        if now in (OpState.FAILED, OpState.IN_DOUBT):
            self._leave_alone_before(key)
        elif isinstance(event, Resolved):
            self.reopen()

    def reopen(self) -> None:
        """Somebody goes on with the rollback: what failed or was left alone gets another chance."""
        for key, state in list(self.state.items()):
            if state in (OpState.FAILED, OpState.LEFT):
                self._set(key, OpState.INTENT if key in self._unanswered else OpState.PENDING)
                if key in self._unanswered:
                    self._again.add(key)
        self._leave_alone()

    def settled_forward(self, key: Key) -> None:
        """A person said how an operation ended whose undo was in doubt because of that: it may be tried now."""
        if self.state.get(key) is OpState.IN_DOUBT:
            self._set(key, OpState.PENDING)
            self.reopen()

    def abandon(self, key: Key) -> None:
        """An undo that began may begin again (it did nothing, or its own receipt will tell)."""
        if self.state.get(key) in (OpState.STARTED, OpState.PREPARED):
            self._set(key, OpState.PENDING)
        elif self.state.get(key) in UNDER_WAY:
            self._again.add(key)

    def untouched(self, host: str) -> bool:
        """Whether nothing was (or may have been) undone on ``host``, though its way back was decided."""
        return all(state is OpState.SKIPPED for key, state in self.state.items() if key[1] == host)

    def forget(self, host: str) -> None:
        """The way back of ``host``, which is `untouched`, was never decided."""
        self._stacks.pop(host, None)
        for key in [key for key in self.state if key[1] == host]:
            del self.state[key]

    def ready(self) -> Iterator[tuple[str, str, bool, str]]:
        """(node, host, run, why): reverse operations that may start (run) or have nothing to do (not run, with why)."""
        for key in self._candidates():
            way = self._ways.get(key)
            if way is None or (way.reverse is None and way.way_back != NO_WAY_BACK):
                yield (*key, False, "nothing to undo")
            else:
                yield (*key, True, "")

    @property
    def finished(self) -> bool:
        """Whether every reverse operation is settled or in doubt (true where there is nothing to undo)."""
        return not any(state not in SETTLED and state is not OpState.IN_DOUBT for state in self.state.values())

    def under_way(self) -> list[Key]:
        """Reverse operations that began and have not ended."""
        return [key for key, state in self.state.items() if state in UNDER_WAY]

    @property
    def left(self) -> list[Left]:
        """What could not be put back, in the order it was tried."""
        final = self._beyond_return()
        return [self._left(key, state, final) for key, state in self.state.items()
                if state in (OpState.FAILED, OpState.LEFT, OpState.IN_DOUBT)]

    @property
    def stuck(self) -> list[Key]:
        """What was tried and could not be undone; a person may say that it is undone after all."""
        return [key for key, state in self.state.items() if state in (OpState.FAILED, OpState.IN_DOUBT)]

    def _left(self, key: Key, state: OpState, final: Set[Key]) -> Left:
        trouble = self._troubles.get(key)
        why = "not undone"
        kind = "irreversible" if key in final else "behind"
        if state is OpState.LEFT:
            why = f"left alone, because {self._behind[key][0]} after it could not be undone"
        elif isinstance(trouble, InDoubt):
            kind, why = "doubt", trouble.why
        elif trouble is not None:
            why = trouble.error
            if key not in final:
                kind = trouble.trouble or ("unreachable" if trouble.unreachable else "failed")
        return Left(node=key[0], host=key[1], kind=kind, why=why)

    def _beyond_return(self) -> Set[Key]:
        """What was not undone because the plan itself says that there is no way back: irreversible operations, and what
        lies behind them."""
        found = {key for key, state in self.state.items() if state is OpState.FAILED and self.irreversible(key)}
        todo = list(found)
        while todo:
            later = todo.pop()
            more = [key for key, state in self.state.items()
                    if state is OpState.LEFT and key not in found and self._rests(later, key)]
            found.update(more)
            todo += more
        return found

    def irreversible(self, key: Key) -> bool:
        """Whether an operation has no way back by the plan's word."""
        way = self._ways.get(key)
        return way is not None and way.way_back == NO_WAY_BACK

    def _candidates(self) -> Iterator[Key]:
        batches = [batch for (_, batch), keys in self._open_at.items() if keys]
        deepest = max(batches, default=0)
        for host, stack in self._stacks.items():
            if self._shape.batch_of(host) != deepest:
                continue
            last = next((key for key in reversed(stack) if self._open(key)), None)
            if last is not None and self._startable(last) and not self._awaited(last, deepest):
                yield last

    def _startable(self, key: Key) -> bool:
        return self.state[key] is OpState.PENDING or key in self._again

    def _awaited(self, key: Key, batch: int) -> bool:
        """Whether something after ``key``, in the graph and in time, still has to be undone elsewhere."""
        if self._shape.each_for_itself:
            return False
        return any(at == batch and keys and self._shape.follows(node, key[0])
                   and any(self._seq[later] > self._seq[key] for later in keys)
                   for (node, at), keys in self._open_at.items())

    def _leave_alone(self) -> None:
        stuck = (OpState.FAILED, OpState.LEFT, OpState.IN_DOUBT)
        for key in [key for key, state in self.state.items() if state in stuck]:
            self._leave_alone_before(key)

    def _leave_alone_before(self, stuck: Key) -> None:
        """What an operation that could not be undone rests on stays as it is; other branches and hosts go on."""
        todo = [stuck]
        while todo:
            later = todo.pop()
            for key, state in list(self.state.items()):
                if state is OpState.PENDING and self._rests(later, key):
                    self._set(key, OpState.LEFT)
                    self._behind[key] = stuck
                    todo.append(key)

    def _rests(self, later: Key, key: Key) -> bool:
        """Whether ``later`` was done on top of ``key``."""
        return self._shape.follows(later[0], key[0]) and self._shape.tied(key, later)

    def _open(self, key: Key) -> bool:
        state = self.state[key]
        return state not in SETTLED and state is not OpState.IN_DOUBT

    def _set(self, key: Key, now: OpState) -> None:
        self.state[key] = now
        keys = self._open_at.setdefault((key[0], self._shape.batch_of(key[1])), {})
        if self._open(key):
            keys[key] = None
        else:
            keys.pop(key, None)
