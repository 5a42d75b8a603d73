"""Steps that may cut the connection (`confirm`): the host undoes them by itself, unless it is told not to in time and
over a new connection.

    INTENT (durable) ─► arm ─► effect ─► a new connection: how did it end? look, judge ─► disarm ─► OUTCOME
                         └─ the host's timer ─► nobody came: it ends what still runs, and undoes

Who came first is decided on the host, by the exclusive create of one receipt (shell/lib/50-deadman.sh). Whoever goes on
with a run, forward or backward, settles that receipt before anything else is done about the step.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ultraplan.engine.confine import concealed
from ultraplan.engine.faults import fault
from ultraplan.engine.hosts import HostSession
from ultraplan.engine.receipts import Fenced, Unusable
from ultraplan.engine.recover import Ended, Recovery
from ultraplan.engine.resolve import Resolved, undo_step
from ultraplan.engine.run import Run
from ultraplan.graph.model import Node
from ultraplan.journal.events import Prepared
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import State, StepFailed
from ultraplan.transport.base import DeadlineExceeded, HostKeyMismatch, TransportError

ANSWER = 2.0
"""Seconds in which an effect that leaves the connection alone has usually answered over it."""

BETWEEN = 0.5
"""Seconds between two tries to reach the host anew."""

SLACK = 5.0
"""Seconds that a host's timer may be late."""

AFTERWARDS = 45.0
"""Seconds, after the host's own undo was due, in which it should be reachable again."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How a dead-man was settled (`HostSession.disarm`), and for ``fired``: the undo's answer, None where it died."""

    how: str
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an armed attempt came to. ``problem`` None: it is confirmed. ``final``: trying again would be wrong, because
    nobody could confirm it. ``undone``: the host has undone it. ``state``: what was found, where that could be seen."""

    ended: Ended
    state: State
    problem: str | None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    final: bool = False
    undone: bool = False


Judge = Callable[[HostSession, Ended], tuple[State, str | None, Mapping[str, Any]]]
"""Looks over a session at what an attempt left: the state, what is wrong with it, the outputs. Raises `StepFailed`."""


class DeadMan:
    """The dead-man of one operation."""

    def __init__(self, run: Run, recovery: Recovery, node: Node, host: str) -> None:
        self._run, self._recovery, self._node = run, recovery, node
        self._host = run.fleet.host(host)
        self._op = run.op(node.id, host)

    # -- forward ------------------------------------------------------------------------------------------------

    def carry_out(self, session: HostSession, resolved: Resolved, program: Program, attempt: int,
                  judge: Judge) -> tuple[HostSession, Verdict]:
        """Arm the undo, let the effect happen, and confirm it. Gives the host's session from now on. Raises
        `StepFailed` where nothing was begun, `TransportError` where the host stays away although its own undo was due.
        """
        window = float(resolved.step.confirm or 0)
        fault("before-arm", self._node.id)
        self._arm(session, resolved, attempt, math.ceil(window))
        due = time.monotonic() + window
        fault("after-arm", self._node.id)
        answer = _Answer(lambda: session.effect(
            self._run.here, self._op, str(attempt), program, account=resolved.account,
            environment=resolved.environment, deadline=resolved.timeout)[0])
        try:
            answer.wait(min(ANSWER, window))
            fresh, verdict = self._reach(resolved, attempt, judge, answer, due)
        finally:
            if not answer.over:  # nothing comes over the old connection any more
                session.connection.close()
        self._run.fleet.replace(self._host.name, fresh)
        return fresh, verdict

    def _arm(self, session: HostSession, resolved: Resolved, attempt: int, seconds: int) -> None:
        undo, environment = self._undo(resolved)
        try:
            session.arm(self._run.here, self._op, attempt, undo, seconds, account=resolved.account,
                        environment=environment)
        except Unusable as error:
            raise StepFailed(str(error)) from None

    def _reach(self, resolved: Resolved, attempt: int, judge: Judge, answer: _Answer,
               due: float) -> tuple[HostSession, Verdict]:
        """A session over a new connection, and what was found over it."""
        told = ""
        while True:
            fresh = self._run.fleet.fresh(self._host.name)
            try:
                ended = self._ended(fresh, resolved, attempt, answer, due)
                fault("after-effect", self._node.id)
                return fresh, self.judged(fresh, resolved, attempt, ended, judge)
            except TransportError as error:
                fresh.connection.close()
                if isinstance(error, Fenced) or time.monotonic() >= due + AFTERWARDS:
                    raise
                if str(error) != told:
                    told = str(error)
                    self._run.tell(self._node.id, self._host.name, f"cannot be confirmed yet: {told}")
            except BaseException:
                fresh.connection.close()
                raise
            self._run.sleep(BETWEEN)

    def _ended(self, fresh: HostSession, resolved: Resolved, attempt: int, answer: _Answer, due: float) -> Ended:
        """How the effect ended: by its answer, or, where the old connection is silent, by its receipt."""
        fresh.facts(resolved.account)  # a new connection is made in any case
        while not answer.over and time.monotonic() < due:
            if fresh.receipt(self._run.here, self._op, str(attempt), resolved.account).state not in ("absent", "alive"):
                break
            self._run.sleep(BETWEEN)
        reply, trouble = answer.result()
        if isinstance(trouble, DeadlineExceeded):
            fresh.end(self._run.here, self._op, str(attempt), resolved.account)
            return Ended(None, None, f"did not end within {resolved.timeout:g} s and was ended")
        if reply is not None:
            return Ended(reply)
        known = self._run.last_intent(self._op, "forward")
        boot = known[0].boot if known is not None else ""
        left = min(resolved.timeout, max(0.0, due - time.monotonic()))
        receipt = self._recovery.receipt(fresh, self._op, str(attempt), resolved.account, left, from_now=True)
        return self._recovery.ended(fresh, self._op, str(attempt), resolved.account, receipt, boot)

    def judged(self, session: HostSession, resolved: Resolved, attempt: int, ended: Ended,
               judge: Judge) -> Verdict:
        """Look over ``session``, a new connection, at what the attempt left; then settle its dead-man."""
        try:
            state, problem, outputs = judge(session, ended)
        except StepFailed as error:
            state, problem, outputs = State(), str(error), {}
        died = ended.reply is None and ended.problem is None and resolved.type.opaque
        if died:
            problem = "it began, and left no exit code when it died"
            self._leave_it(session, resolved, attempt)
        settled = self.settle(session, resolved, attempt)
        if settled.how == "confirmed" or not ended.began:
            return Verdict(ended, state, problem, outputs, final=died)
        window = resolved.step.confirm
        if settled.how != "fired":
            why = {"rebooted": f"{self._host.name} was rebooted before anybody confirmed it",
                   "began": f"it had not begun within the {window} that it had to be confirmed in"}
            left = why.get(settled.how, f"not confirmed within {window}, and the host's own timer had died")
            return Verdict(ended, state, left, final=True)
        wrong = self.undo_failed(session, resolved, settled)
        result = ("the host has undone it by itself" if wrong is None else f"the host's own undo failed: {wrong}")
        cause = problem if died and problem else f"not confirmed over a new connection within {window}"
        return Verdict(ended, state, f"{cause}; {result}", final=True, undone=wrong is None)

    def _leave_it(self, session: HostSession, resolved: Resolved, attempt: int) -> None:
        """Let the host undo an effect that died: what ended it, say a restart of sshd that ends its sessions, might end
        an undo of ours in the same way, but does not reach the timer."""
        known = self._run.last_intent(self._op, "forward")
        if known is None or known[0].boot != session.facts(resolved.account).get("boot"):
            return
        until = time.monotonic() + float(resolved.step.confirm or 0) + SLACK
        while time.monotonic() < until:
            if session.receipt(self._run.here, self._op, f"d{attempt}", resolved.account).state != "absent":
                return
            self._run.sleep(BETWEEN)

    # -- both ways ----------------------------------------------------------------------------------------------

    def await_host(self, session: HostSession, resolved: Resolved) -> None:
        """For who goes on with a run whose last attempt was armed: wait until the host, which may have locked everybody
        out, has had the time to undo it. Raises nothing: who asks next is told that it is away."""
        known = self._run.last_intent(self._op, "forward")
        if known is None or known[0].confirm is None:
            return
        longest = known[0].confirm + AFTERWARDS
        until = time.monotonic() + min(longest, max(0.0, known[1] + longest - time.time()))
        while time.monotonic() < until:
            try:
                session.facts(resolved.account)
                return
            except (Fenced, HostKeyMismatch):
                return
            except TransportError:
                session.forget()
            self._run.sleep(BETWEEN)

    def settle(self, session: HostSession, resolved: Resolved, attempt: int) -> Settled:
        """Make sure that the host will not undo the attempt by itself any more, or wait until it has."""
        fault("before-disarm", self._node.id)
        how = session.disarm(self._run.here, self._op, attempt, resolved.account)
        fault("after-disarm", self._node.id)
        if how != "fired":
            return Settled(how)
        timeout = (self._declared() or resolved).timeout
        receipt = self._recovery.receipt(session, self._op, f"d{attempt}", resolved.account, timeout, from_now=True)
        return Settled(how, receipt.reply)

    def undo_failed(self, session: HostSession, resolved: Resolved, settled: Settled) -> str | None:
        """What is wrong after the host's own undo; None: everything is as it was."""
        if settled.reply is None:
            return "it began, and left no exit code when it died"
        undo = self._declared()
        if undo is not None and undo.on_host is not None:
            kind = undo.on_host
            looked, = session.look([kind.probe(undo.params)], undo.account)
            return kind.verify(undo.params, kind.observe(undo.params, looked), settled.reply)
        if settled.reply.exit != 0:
            return f"exit {settled.reply.exit}: {settled.reply.error_text.strip()[-500:]}"
        step = resolved.on_host
        if step is None:
            return f"{resolved.type.name} is no host step"
        looked, = session.look([step.probe(resolved.params)], resolved.account)
        now = concealed(self._run.fleet.secrets, step.observe(resolved.params, looked).facts)
        return None if now == self._prepared.before else "it is not as before"

    def _undo(self, resolved: Resolved) -> tuple[Program, Mapping[str, str]]:
        """What the host has to run to undo the step by itself."""
        declared, reverse = self._declared(), self._prepared.reverse
        if declared is None and reverse is not None:
            return Program(reverse["program"], foreign=bool(reverse["foreign"])), reverse["environment"]
        if declared is None:
            raise StepFailed("there is no way back that the host could take by itself")
        program = declared.on_host.unattended(declared.params) if declared.on_host is not None else None
        if program is None:
            raise StepFailed(f"a host cannot run {declared.type.name} by itself, which confirm needs of an undo")
        if declared.account != resolved.account:
            raise StepFailed("under confirm, an undo runs as the account that its step runs as")
        return program, declared.environment

    @property
    def _prepared(self) -> Prepared:
        """The way back, as it was made durable before the first effect."""
        prepared = self._run.way_back((self._node.id, self._host.name))
        if prepared is None:
            raise StepFailed("its way back is not in the journal")
        return prepared

    def _declared(self) -> Resolved | None:
        """The undo step that the plan declares, as it was when the way back was made durable."""
        step, stored = self._node.step, (self._prepared.reverse or {}).get("undo")
        if step.undo is None or stored is None:
            return None
        return self._run.resolver.again(self._node, self._host, undo_step(step, step.undo), stored["params"],
                                        stored["environment"])


class _Answer:
    """A call on a thread of its own, whose answer may never come."""

    def __init__(self, call: Callable[[], Reply]) -> None:
        self._call = call
        self._done = threading.Event()
        self._reply: Reply | None = None
        self._trouble: BaseException | None = None
        threading.Thread(target=self._work, name="armed-effect", daemon=True).start()

    def _work(self) -> None:
        try:
            self._reply = self._call()
        except BaseException as error:  # noqa: BLE001 - handed over by `result`
            self._trouble = error
        finally:
            self._done.set()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._done.is_set()

    def wait(self, seconds: float) -> None:
        """Until it has ended, ``seconds`` at most."""
        self._done.wait(seconds)

    def result(self) -> tuple[Reply | None, TransportError | None]:
        """Its answer, or the trouble of the connection; neither where it has not ended. Raises `Fenced`, `StepFailed`
        where nothing was begun, and anything that is no trouble of the connection."""
        if isinstance(self._trouble, Unusable):
            raise StepFailed(str(self._trouble))
        if self._trouble is not None and (isinstance(self._trouble, Fenced)
                                          or not isinstance(self._trouble, TransportError)):
            raise self._trouble
        return self._reply, self._trouble
