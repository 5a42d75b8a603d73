"""Operations of one host that follow each other, sent together: one look, one commit of all ways back and intents, one
trip with all effects, each with its own receipt, and the shell stopping at the first that fails.

Whatever cannot be known before an earlier one ran ends the run of operations; the rest begins when it has its turn.
What an opaque effect may have changed of what a later step saw is looked at again on the host, right before that step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar, TypeVarTuple

from ultraplan.engine.faults import fault
from ultraplan.engine.forward import Forward
from ultraplan.engine.forward_operation import Operation
from ultraplan.engine.hosts import HostSession
from ultraplan.engine.overlay import Overlay
from ultraplan.engine.receipts import Effort, Fenced, NotBegun, Unusable
from ultraplan.engine.recover import NEVER, Ended, Recovery
from ultraplan.engine.resolve import Resolved
from ultraplan.engine.run import Run, Stopped
from ultraplan.engine.shape import Key
from ultraplan.engine.states import UNDER_WAY
from ultraplan.journal.base import JournalError
from ultraplan.journal.events import AnyEvent, InDoubt, Intent
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import Change, HostStep, State, StepFailed, WayBack
from ultraplan.transport.base import TransportError

MOST = 64
"""Operations that are sent together, at most."""

FLUSH = 0.2
"""Seconds that an answer waits at most for others to be made durable with it."""

_GUARDED = 16 * 1024  # bytes of a look that travel back to be compared


@dataclass(slots=True, eq=False)
class _Member:
    """One of the operations. ``calm``: what is journaled of one that has nothing to do, when it has its turn."""

    operation: Operation
    resolved: Resolved
    step: HostStep[Any]
    probe: Program
    state: State = field(default_factory=State)
    change: Change | None = None
    seen: tuple[Program, str] | None = None
    prepared: list[AnyEvent] = field(default_factory=list)
    calm: list[AnyEvent] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    intent: Intent | None = None

    @property
    def node(self) -> str:
        return self.operation.node.id

    @property
    def sent(self) -> bool:
        """Whether the host has something to do for it."""
        return self.change is not None or self.seen is not None


class SentAhead:
    """Carries out forward operations of one host, in their order. ``wake`` is called when some of them are over."""

    def __init__(self, run: Run, recovery: Recovery, wake: Callable[[], None]) -> None:
        self._run, self._recovery, self._wake = run, recovery, wake
        self._fits: dict[str, bool] = {}

    def fits(self, name: str) -> bool:
        """Whether a node is of the simple kind: an effect on a host, tried once."""
        if name not in self._fits:
            step = self._run.node(name).step
            self._fits[name] = (isinstance(self._run.fleet.registry[step.type], HostStep) and step.until is None
                                and step.retries == 0 and step.confirm is None
                                and self._run.resolver.way_back(step) != WayBack.READ_ONLY)
        return self._fits[name]

    def __call__(self, keys: Sequence[Key]) -> None:
        """Do what can be done together, from the first on; what is not begun may begin again. Raises `Stopped`,
        `Fenced`, `JournalError`."""
        members = self._members(keys)
        for key in keys[max(1, len(members)):]:
            self._run.abandon(*key, "forward")
        if members:
            _Trip(self._run, self._recovery, self._wake, members).carry_out()
        else:
            Forward(self._run, self._recovery)(*keys[0])

    # -- what can be known beforehand ---------------------------------------------------------------------------

    def _members(self, keys: Sequence[Key]) -> list[_Member]:
        """Those of the operations that can go together; none where already the first is for itself."""
        together = [node for node, _ in keys]
        members: list[_Member] = []
        for node, host in keys:
            operation = Operation(self._run, self._run.node(node), host, together)
            member = _unless_mistaken(_member, operation)
            if member is None or (members and member.resolved.account != members[0].resolved.account):
                break
            members.append(member)
        if not members:
            return []
        session = self._run.fleet.session(keys[0][1])
        try:
            replies = session.look([member.probe for member in members], members[0].resolved.account, self._run.here)
        except Fenced:
            raise
        except TransportError:
            return []
        overlay = Overlay()
        found: list[_Member] = []
        for member, reply in zip(members, replies, strict=True):
            opaque = any(one.change is not None and one.step.opaque for one in found)
            if _unless_mistaken(_foreseen, member, reply, overlay, opaque, bool(found)) is None:
                break
            found.append(member)
        return found


A = TypeVarTuple("A")
T = TypeVar("T")


def _unless_mistaken(act: Callable[[*A], T | None], *arguments: *A) -> T | None:
    """What ``act`` gives; None where it fails: the operation will say why itself, when it has its turn."""
    try:
        return act(*arguments)
    except (Fenced, Stopped, JournalError):
        raise
    except Exception:  # noqa: BLE001
        return None


def _member(operation: Operation) -> _Member | None:
    if operation.run.resolver.not_wanted(operation.node, operation.names_of) is not None:
        return None
    resolved = operation.run.resolver.resolve(operation.node, operation.host, operation.names)
    step = resolved.on_host
    if step is None or resolved.read_only:
        return None
    return _Member(operation, resolved, step, step.probe(resolved.params))


def _foreseen(member: _Member, reply: Reply, overlay: Overlay, opaque: bool, later: bool) -> _Member | None:
    """What the member will do, or None where that depends on what those before it will have done."""
    operation, resolved, step = member.operation, member.resolved, member.step
    host, resources = operation.host.name, member.step.resources(resolved.params)
    state = member.state = step.observe(resolved.params, reply)
    if overlay.doubts(host, resources):
        return None
    if state.facts and later and (opaque or not resources):
        text = reply.stdout.decode("utf-8")
        if len(text) > _GUARDED or "\0" in text or "\r" in text or reply.truncated:
            return None
        member.seen = (member.probe, text.rstrip("\n"))
    member.change = change = step.decide(resolved.params, state)
    if change is None:
        member.outputs, member.calm = operation.at_rest(resolved, step, state)
        return member
    if change.forward is None or any(overlay.maker(host, folder) is None for folder in state.lacks):
        return None
    operation.hold_promise(state)
    member.prepared = operation.preparation(resolved, state, change)
    if not step.opaque:
        overlay.change(member.node, host, step.name, resources, change.touches or resources, change.after, sure=True)
    return member


class _Trip:
    """The effects of several operations, from their intents to the last outcome."""

    def __init__(self, run: Run, recovery: Recovery, wake: Callable[[], None], members: Sequence[_Member]) -> None:
        self._run, self._recovery, self._wake = run, recovery, wake
        self._members = members
        self._session: HostSession = run.fleet.session(members[0].operation.host.name)
        self._account = members[0].resolved.account
        self._next = 0                          # the first member that has not had its turn
        self._over: list[tuple[_Member, list[AnyEvent]]] = []           # ended well; to be made durable
        self._bad: list[tuple[_Member, list[AnyEvent], Exception | None]] = []
        self._since = time.monotonic()
        self._called_off = False

    def carry_out(self) -> None:
        """Begin, do, and journal how each ended. Raises `Stopped` where nothing may begin, `Fenced`, `JournalError`."""
        self._announce()
        self._pass_calm()
        if self._next < len(self._members):
            try:
                self._receive()
            except Fenced:
                raise
            except (NotBegun, Unusable) as error:
                self._fall_short(error)
            except TransportError as error:
                self._find_out(error)
        self._flush()
        self._tell_bad()
        for member in self._members:
            if self._run.state(member.operation.key) in UNDER_WAY:
                self._run.abandon(*member.operation.key, "forward")

    def _announce(self) -> None:
        """PREPARED and INTENT of all, durable together before the first effect."""
        changing = [member for member in self._members if member.change is not None]
        for member in changing:
            self._run.check_may_effect(member.operation.key, "forward")
            member.intent = member.operation.intent(member.resolved, self._session)
            fault("before-intent", member.node)
        events = [[*member.prepared, member.intent] for member in changing if member.intent is not None]
        if events:
            self._run.write(*chain.from_iterable(events))
        for member in changing:
            member.operation.effect_possible = True
            fault("after-intent", member.node)

    def _receive(self) -> None:
        efforts = [_effort(member) for member in self._members if member.sent]
        failed: tuple[_Member, Ended] | None = None
        for reply, looked in self._session.efforts(self._run.here, efforts, self._account, self._idle):
            member = self._members[self._next]
            fault("after-effect", member.node)
            if looked is None and member.change is not None:
                failed = member, Ended(reply)  # the last answer; its state is looked at when the shell is free again
                continue
            if not self._settle(member, Ended(reply, looked)):
                self._call_off()
            if time.monotonic() - self._since > FLUSH:
                self._flush()
        if failed is not None:
            self._settle(*failed)

    # -- how each ended -----------------------------------------------------------------------------------------

    def _settle(self, member: _Member, ended: Ended) -> bool:
        """Take in how a member ended; whether that was well."""
        self._next += 1
        operation, resolved, step = member.operation, member.resolved, member.step
        if member.intent is None or member.change is None:
            self._over.append((member, member.calm))
        elif ended.reply is None and ended.problem is None and step.opaque:
            self._bad.append((member, [InDoubt(**operation.about, why="its receipt has no exit code")], None))
            return False
        else:
            attempt = member.intent.attempt
            try:
                state = (step.observe(resolved.params, ended.looked) if ended.looked is not None
                         else operation.look(self._session, resolved, step))
                problem, member.outputs = operation.judge(resolved, step, member.change.forward or Program(""), state,
                                                          ended)
            except (Fenced, Stopped, JournalError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the operation failed by it
                self._bad.append((member, [], error))
                return False
            if problem is not None:
                self._bad.append((member, [operation.miss(attempt, problem, ended, state)], StepFailed(problem)))
                return False
            self._over.append((member, operation.verification(attempt, ended.reply, member.outputs, state)))
        self._pass_calm()
        return True

    def _pass_calm(self) -> None:
        """Those with nothing to do have their turn when all before them have ended well."""
        while self._next < len(self._members) and not self._members[self._next].sent:
            member = self._members[self._next]
            self._over.append((member, member.calm))
            self._next += 1

    def _flush(self) -> None:
        """Make durable what ended well, all of it at once."""
        over, self._over = self._over, []
        self._since = time.monotonic()
        if not over:
            return
        changed = [member for member, _ in over if member.intent is not None]
        for member in changed:
            fault("before-verified", member.node)
        self._run.write(*chain.from_iterable(events for _, events in over))
        for member in changed:
            fault("after-verified", member.node)
        for member, _ in over:
            member.operation.remember(member.outputs)
        self._wake()

    def _tell_bad(self, never: Sequence[_Member] | None = None) -> None:
        """Make durable what ended badly, and that what was to come after it never began: the shell has stopped."""
        rest = self._members[self._next:] if self._bad and never is None else never or ()
        missed = [*chain.from_iterable(events for _, events, _ in self._bad), *map(_never, filter(_intended, rest))]
        if missed:
            self._run.write(*missed)
        for member, _, error in self._bad:
            if error is not None:
                fault("after-outcome", member.node)
                member.operation.fail(error)
        self._bad = []

    # -- when it does not go as it should -----------------------------------------------------------------------

    def _idle(self) -> None:
        if self._over and time.monotonic() - self._since > FLUSH:
            self._flush()
        if self._next < len(self._members) and not self._run.may_go_on(self._members[self._next].operation.key):
            self._call_off()

    def _call_off(self) -> None:
        """What has not begun on the host is never to begin. What runs, runs to its end."""
        if self._called_off:
            return
        self._called_off = True
        names = [(member.operation.op, str(member.intent.attempt)) for member in self._members[self._next:]
                 if member.intent is not None]
        if names:
            self._session.call_off(self._run.here, names, self._account)

    def _fall_short(self, error: NotBegun | Unusable) -> None:
        """The shell did not begin the next one, nor any after it."""
        self._flush()
        rest = self._members[self._next:]
        if isinstance(error, Unusable):
            self._next += 1
            self._bad.append((rest[0], [], StepFailed(str(error))))
        self._tell_bad(rest)

    def _find_out(self, trouble: TransportError) -> None:
        """The connection broke, or a deadline passed: each receipt tells what became of its effect."""
        self._flush()
        first, going = True, True
        never: list[_Member] = []
        for member in self._members[self._next:]:
            if member.intent is None:
                if going and member.seen is None:
                    continue
                break  # what it saw has to be looked at again
            try:
                ended = self._recovery.found(self._session, member.operation.op, str(member.intent.attempt),
                                             member.resolved, trouble if first else None)
            except TransportError as error:
                if first:
                    self._bad.append((member, [], error))
                break
            if not ended.began and not first:
                never.append(member)
                going = False
            elif going:
                self._next = self._members.index(member)
                going = self._settle(member, ended)
            first = False
        self._tell_bad(never)


def _effort(member: _Member) -> Effort:
    return Effort(
        op=member.operation.op, attempt=str(member.intent.attempt) if member.intent is not None else "",
        program=member.change.forward if member.change is not None else None, environment=member.resolved.environment,
        deadline=member.resolved.timeout, then=member.probe, seen=member.seen)


def _intended(member: _Member) -> bool:
    return member.intent is not None


def _never(member: _Member) -> AnyEvent:
    attempt = member.intent.attempt if member.intent is not None else 0
    return member.operation.miss(attempt, "what came before it did not end well", NEVER, None)
