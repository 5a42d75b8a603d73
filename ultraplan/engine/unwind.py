"""The way back as a pure state machine: which undo may start now, and what is left where one cannot be done.

The order is the reverse of what really ran: on one host strictly by the journal's order, across hosts by the graph
(a step is undone on a host only when everything after it is undone everywhere it ran), later batches first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ultraplan.engine.shape import Shape
from ultraplan.engine.states import SETTLED, UNDER_WAY, OpState, after
from ultraplan.journal.events import Failed, InDoubt, OpEvent, Prepared, Resolved

Key = tuple[str, str]

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
        self._open_at: dict[tuple[str, int], int] = {}   # node, batch -> its reverse operations not settled
        self._batch: dict[str, int] = {}
        self._errors: dict[Key, str] = {}
        self._again: set[Key] = set()               # under way when a process died: may begin again

    def happened(self, key: Key, seq: int) -> None:
        """A forward INTENT became durable."""
        self._seq.setdefault(key, seq)

    def prepared(self, key: Key, event: Prepared) -> None:
        """A forward PREPARED became durable; only the first counts."""
        self._ways.setdefault(key, event)

    def way_of(self, key: Key) -> Prepared | None:
        """The way back of an operation, as it was made durable before its effect."""
        return self._ways.get(key)

    def ran(self, host: str) -> list[Key]:
        """What may have had an effect on ``host``, in the order it began."""
        return sorted((key for key in self._seq if key[1] == host), key=lambda key: self._seq[key])

    def start(self, hosts: Iterable[str], batch_of: Callable[[str], int]) -> None:
        """The way back was decided for ``hosts``."""
        by_host: dict[str, list[Key]] = {}
        for key in sorted(self._seq, key=lambda key: self._seq[key]):
            by_host.setdefault(key[1], []).append(key)
        for host in hosts:
            if host in self._stacks:
                continue
            self._stacks[host] = stack = by_host.get(host, [])
            self._batch[host] = batch_of(host)
            for key in stack:
                self.state.setdefault(key, OpState.PENDING)
                at = (key[0], self._batch[host])
                self._open_at[at] = self._open_at.get(at, 0) + 1

    def record(self, event: OpEvent) -> None:
        """Take in one reverse event."""
        key = (event.node, event.host)
        self._again.discard(key)
        before = self.state.get(key, OpState.PENDING)
        now = after(before, event)  # type: ignore[arg-type]
        if isinstance(event, (Failed, InDoubt)):
            self._errors[key] = event.error if isinstance(event, Failed) else event.why
        self._set(key, now)
        if now in (OpState.FAILED, OpState.IN_DOUBT):
            self._leave_alone_before(key)
        elif isinstance(event, Resolved):
            self.reopen()

    def reopen(self) -> None:
        """Somebody goes on with the rollback: what failed or was left alone gets another chance."""
        for key, state in list(self.state.items()):
            if state in (OpState.FAILED, OpState.LEFT):
                self._set(key, OpState.PENDING)
        for key in [key for key, state in self.state.items() if state is OpState.IN_DOUBT]:
            self._leave_alone_before(key)

    def abandon(self, key: Key) -> None:
        """An undo that began may begin again (it did nothing, or its own receipt will tell)."""
        if self.state.get(key) in (OpState.STARTED, OpState.PREPARED):
            self._set(key, OpState.PENDING)
        elif self.state.get(key) in UNDER_WAY:
            self._again.add(key)

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
    def residue(self) -> list[str]:
        """What could not be put back, a line each, in the order it was tried."""
        return [f"{node} on {host}: {self._errors.get((node, host), 'not undone')}"
                for (node, host), state in self.state.items()
                if state in (OpState.FAILED, OpState.LEFT, OpState.IN_DOUBT)]

    def _candidates(self) -> Iterator[Key]:
        deepest = max((self._batch[host] for host, stack in self._stacks.items()
                       if any(self._open(key) for key in stack)), default=0)
        for host, stack in self._stacks.items():
            if self._batch[host] != deepest:
                continue
            last = next((key for key in reversed(stack) if self._open(key)), None)
            if last is not None and self._startable(last) and not self._awaited(last):
                yield last

    def _startable(self, key: Key) -> bool:
        return self.state[key] is OpState.PENDING or key in self._again

    def _awaited(self, key: Key) -> bool:
        """Whether something after ``key`` in the graph still has to be undone elsewhere."""
        if self._shape.free:
            return False
        return any(count and node != key[0] and batch == self._batch[key[1]] and self._shape.follows(node, key[0])
                   for (node, batch), count in self._open_at.items())

    def _leave_alone_before(self, stuck: Key) -> None:
        """What came before an operation that could not be undone stays as it is; other branches and hosts go on."""
        nodes = self._shape.nodes
        for key, state in list(self.state.items()):
            together = key[1] == stuck[1] or nodes[key[0]].single or nodes[stuck[0]].single
            if state is OpState.PENDING and together and self._shape.follows(stuck[0], key[0]):
                self._set(key, OpState.LEFT)
                self._errors[key] = f"left alone, because {stuck[0]} after it could not be undone"

    def _open(self, key: Key) -> bool:
        state = self.state[key]
        return state not in SETTLED and state is not OpState.IN_DOUBT

    def _set(self, key: Key, now: OpState) -> None:
        was_open = key not in self.state or self._open(key)
        self.state[key] = now
        if was_open != self._open(key):
            at = (key[0], self._batch.get(key[1], 0))
            self._open_at[at] = self._open_at.get(at, 0) + (-1 if was_open else 1)
