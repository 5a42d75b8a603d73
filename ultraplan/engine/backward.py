"""One operation backward: make sure the effect is over, find what the run left, put back what was, verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ultraplan.engine.confine import concealed
from ultraplan.engine.confirm import DeadMan
from ultraplan.engine.differing import Hopeless, conflict, differing, gone
from ultraplan.engine.faults import fault
from ultraplan.engine.hosts import HostSession
from ultraplan.engine.receipts import Fenced, Traces, is_away
from ultraplan.engine.recover import Ended, Recovery
from ultraplan.engine.resolve import Resolved, mistake, undo_step
from ultraplan.engine.run import Run, Stopped
from ultraplan.engine.states import OpState
from ultraplan.engine.unwind import NO_WAY_BACK
from ultraplan.graph.model import Node
from ultraplan.journal.base import JournalError
from ultraplan.journal.events import Failed, InDoubt, Intent, Outcome, Prepared, Skipped, Started, Verified
from ultraplan.language.expressions import ExpressionError
from ultraplan.secrets import SecretError
from ultraplan.shell import Account, Program, Reply
from ultraplan.steps.base import HostStep, State, StepFailed
from ultraplan.transport.base import TransportError, explained

RETRY_DELAYS = (1.0, 3.0)
"""Seconds before each further try of an undo that failed."""


class _Doubt(Exception):
    """Only a person can know whether something was done."""


class Backward:
    """Carries out reverse operations. Every ending is in the journal when a call returns."""

    def __init__(self, run: Run, recovery: Recovery) -> None:
        self._run, self._recovery = run, recovery

    def __call__(self, node_id: str, host: str) -> None:
        """Undo the operation. Raises `Stopped`, `Fenced`, `JournalError`."""
        _Undo(self._run, self._recovery, self._run.node(node_id), host).carry_out()


class _Undo:
    """The undoing of one node on one host."""

    def __init__(self, run: Run, recovery: Recovery, node: Node, host: str) -> None:
        self.run, self.recovery, self.node = run, recovery, node
        self.host = run.fleet.host(host)
        self.key = (node.id, host)
        self.op = run.op(node.id, host)
        self.about: dict[str, Any] = {"op": self.op, "node": node.id, "host": host, "direction": "reverse"}
        self.dead_man = DeadMan(run, recovery, node, host)

    def carry_out(self) -> None:
        prepared = self.run.way_back(self.key)
        if prepared is not None and prepared.way_back == NO_WAY_BACK:
            self._carry_out(self._leave)
        elif prepared is None or prepared.reverse is None:
            self.run.write(Skipped(**self.about, why="nothing to undo"))
        else:
            self._carry_out(partial(self._undo, prepared, prepared.reverse))

    def _carry_out(self, undo: Callable[[], None]) -> None:
        for delay in (*RETRY_DELAYS, None):
            try:
                undo()
                return
            except Fenced:
                raise
            except _Doubt as doubt:
                self.run.write(Started(**self.about), InDoubt(**self.about, why=str(doubt)))
                return
            except (Stopped, JournalError):
                raise
            except Exception as error:  # noqa: BLE001 - a mistake in one step type must not keep others from being undone
                known = isinstance(error, (StepFailed, SecretError, ExpressionError, TransportError))
                said = explained(error) if isinstance(error, TransportError) else str(error)
                problem = self.run.fleet.secrets.redact(said if known else mistake(self.node.step.type, error))
                away = isinstance(error, TransportError) and self.run.fleet.session(self.host.name).away
                if delay is None or away or isinstance(error, Hopeless):
                    hopeless = error if isinstance(error, Hopeless) else None
                    hidden = self.node.step.no_log
                    self.run.write(Started(**self.about), Failed(
                        **self.about, error=problem if not hidden else problem.partition(":")[0],
                        unreachable=is_away(error), trouble=hopeless.trouble if hopeless else "",
                        facts=hopeless.facts if hopeless and not hidden else None))
                    return
                if isinstance(error, TransportError):
                    self.run.fleet.session(self.host.name).forget()
                self.run.tell(self.node.id, self.host.name, f"undo: {problem}; next try in {delay:g} s")
                self.run.sleep(delay)

    def _leave(self) -> None:
        """What has no way back stays, if it happened: that is found out as for anything else."""
        if isinstance(self.run.fleet.registry[self.node.step.type], HostStep):
            account = self.run.resolver.account(self.node.step, self.host.name)
            began = self._began(self.run.fleet.session(self.host.name), account)
            if began is False:
                self.run.write(Skipped(**self.about, why="it never began"))
                return
            if began is None:
                raise _Doubt("whether the step was done is not known; if so, there is no way back")
        self.run.write(Started(**self.about),
                       Failed(**self.about, error=f"irreversible: {self.node.step.irreversible}", effect=False))

    def _undo(self, prepared: Prepared, reverse: Mapping[str, Any]) -> None:
        resolved = self.run.resolver.again(self.node, self.host, self.node.step, reverse["params"],
                                           reverse["environment"])
        session = self.run.fleet.session(self.host.name)
        if resolved.on_host is not None:
            if self._undone_by_the_host(session, resolved, prepared):
                self.run.write(Started(**self.about), Verified(**self.about))
                return
            began = self._began(session, resolved.account)
            if began is False:
                self.run.write(Skipped(**self.about, why="it never began"))
                return
            if began is None and "undo" in reverse and not self._was_armed(session, resolved):
                raise _Doubt("whether the step was done is not known, so neither is whether to undo it")
        if "undo" in reverse:
            self._compensate(session, reverse["undo"])
        elif "controller" in reverse:
            self._put_back(resolved, prepared)
        elif resolved.on_host is not None:
            program = Program(reverse["program"], foreign=bool(reverse["foreign"]))
            self._restore(session, resolved, resolved.on_host, prepared, program)

    # -- is the effect over, and did it begin? ------------------------------------------------------------------

    def _began(self, session: HostSession, account: Account | None) -> bool | None:
        """Whether a forward attempt began (None: cannot be known). Afterwards nothing of it runs any more."""
        known = self.run.last_intent(self.op, "forward")
        if known is None:
            return False
        said = self.run.resolved(self.op, "forward")
        if said or self.run.state(self.key) is OpState.VERIFIED:
            return True
        if said is False or self.run.outcome(self.op, "forward") is not None:
            return self.run.may_have_begun(self.op)
        ended = self._ended(session, account, known[0], str(known[0].attempt), 0.0)
        if not ended.began:
            return self.run.may_have_begun(self.op)
        return True if ended.reply is not None or ended.problem is not None else None

    def _previous(self, session: HostSession, resolved: Resolved) -> Ended | None:
        """How the last attempt at this undo ended, where the journal does not know it; None where there is no such
        attempt. Afterwards nothing of it runs any more."""
        known = self.run.last_intent(self.op, "reverse")
        if (known is None or self.run.outcome(self.op, "reverse") is not None
                or self.run.resolved(self.op, "reverse") is not None):
            return None
        return self._ended(session, resolved.account, known[0], f"r{known[0].attempt}", resolved.timeout)

    def _ended(self, session: HostSession, account: Account | None, intent: Intent, attempt: str,
               timeout: float) -> Ended:
        receipt = self.recovery.receipt(session, self.op, attempt, account, timeout)
        return self.recovery.ended(session, self.op, attempt, account, receipt, intent.boot)

    # -- what the host has undone by itself (`confirm`) ---------------------------------------------------------

    def _undone_by_the_host(self, session: HostSession, resolved: Resolved, prepared: Prepared) -> bool:
        """Whether the host has done it all. Afterwards it does nothing by itself any more. Raises `_Doubt`."""
        known = self.run.last_intent(self.op, "forward")
        last = self.run.outcome(self.op, "forward")
        if known is None or known[0].confirm is None or (last is not None and last.ok):
            return False
        if last is not None and last.undone:
            return True
        if self.run.last_intent(self.op, "reverse") is not None:
            return False  # an undo of our own began, so this was settled before it
        self.dead_man.await_host(session, resolved)
        settled = self.dead_man.settle(session, resolved, known[0].attempt)
        if settled.how != "fired":
            return False
        wrong = self.dead_man.undo_failed(session, resolved, settled)
        if wrong is not None and settled.reply is None and "undo" in (prepared.reverse or {}):
            self.run.write(Started(**self.about), self._intent(session, resolved))
            raise _Doubt(f"the host's own undo: {wrong}")
        return wrong is None

    def _was_armed(self, session: HostSession, resolved: Resolved) -> bool:
        """Whether an effect that died is to be undone whatever it had done so far, because the host would have done the
        same: it began, and it was to be confirmed."""
        known = self.run.last_intent(self.op, "forward")
        if known is None or known[0].confirm is None:
            return False
        receipt = session.receipt(self.run.here, self.op, str(known[0].attempt), resolved.account)
        return receipt.state != "absent"

    # -- three ways back ----------------------------------------------------------------------------------------

    def _restore(self, session: HostSession, resolved: Resolved, step: HostStep[Any], prepared: Prepared,
                 program: Program) -> None:
        """Run the reverse program that was made durable before the effect."""
        probe = step.probe(resolved.params)

        def look(reply: Reply) -> dict[str, Any]:
            return self._facts(step.observe(resolved.params, reply))

        ended, last = self._previous(session, resolved), self.run.outcome(self.op, "reverse")
        done = last.ok if last is not None else ended is not None and ended.reply is not None and ended.reply.exit == 0
        replied, kept = session.look([probe, session.traces(
            self.run.id, self.op, step.resources(resolved.params), resolved.account)], resolved.account)
        traces, now, left = Traces.read(kept), look(replied), self.run.left(self.key)
        begun = self.run.last_intent(self.op, "reverse") is not None  # half done: only the program knows the rest
        unneeded = not begun and left is not None and left != prepared.before
        if now == prepared.before and (done or unneeded):
            self.run.write(Started(**self.about), Verified(**self.about, left=now))
            return
        if not begun and left is not None and now != left and step.guards_undo:
            raise conflict(prepared.before, left, now, traces.written)

        def act(attempt: int) -> Reply | None:
            done, looked = session.effect(self.run.here, self.op, f"r{attempt}", program, account=resolved.account,
                                          environment=resolved.environment, deadline=resolved.timeout, then=probe)
            if done.exit != 0:
                raise StepFailed(f"undo ended with exit {done.exit}: {done.error_text.strip()[-500:]}")
            return looked

        looked = self._attempt(session, resolved, act)
        if looked is None:
            looked, = session.look([probe], resolved.account)
        now = look(looked)
        if now != prepared.before and not traces.kept:
            raise gone(self.host.name, prepared.before, left, now)
        if now != prepared.before:
            raise StepFailed(f"after the undo not as before: {differing(prepared.before, now)}")
        self.run.write(Verified(**self.about, left=now))

    def _compensate(self, session: HostSession, stored: Mapping[str, Any]) -> None:
        """Run the undo step that the plan declares."""
        step = self.node.step
        if step.undo is None:
            raise StepFailed("the plan has no undo for it any more")
        undo = self.run.resolver.again(self.node, self.host, undo_step(step, step.undo), stored["params"],
                                       stored["environment"])
        if (controller := undo.on_controller) is not None:
            context = self.run.fleet.context(undo, self.host.name, f"{self.op}.undo")
            state = controller.observe(undo.params, context)
            if controller.decide(undo.params, state) is not None:
                self._attempt(session, undo, lambda attempt: _no_reply(controller.act(undo.params, state, context)))
            self.run.write(Started(**self.about), Verified(**self.about))
            return
        kind = undo.on_host
        if kind is None:
            raise StepFailed(f"{undo.type.name} cannot be an undo")
        replied, = session.look([kind.probe(undo.params)], undo.account)
        change = kind.decide(undo.params, kind.observe(undo.params, replied))
        if change is None or change.forward is None:
            self.run.write(Started(**self.about), Verified(**self.about))
            return
        program = change.forward

        def act(attempt: int) -> Reply | None:
            done, looked = session.effect(self.run.here, self.op, f"r{attempt}", program, account=undo.account,
                                          environment=undo.environment, deadline=undo.timeout,
                                          then=kind.probe(undo.params))
            state = kind.observe(undo.params, looked) if looked is not None else State()
            problem = kind.verify(undo.params, state, done)
            if problem is not None:
                raise StepFailed(f"undo: {problem}")
            return None

        if not self._undone_before(session, kind, undo):
            self._attempt(session, undo, act)
        self.run.write(Verified(**self.about))

    def _undone_before(self, session: HostSession, kind: HostStep[Any], undo: Resolved) -> bool:
        """Whether the last attempt at this undo did it: from the journal, else from its receipt. Raises `_Doubt`."""
        if (last := self.run.outcome(self.op, "reverse")) is not None:
            return last.ok
        ended = self._previous(session, undo)
        if ended is None or ended.problem is not None:
            return False
        if ended.reply is None:
            if kind.opaque:
                raise _Doubt("its undo began, and left no exit code when it died")
            return False
        state = kind.observe(undo.params, session.look([kind.probe(undo.params)], undo.account)[0])
        problem = kind.verify(undo.params, state, ended.reply)
        self.run.write(Started(**self.about), Outcome(
            **self.about, ok=problem is None, attempt=self.run.next_attempt(self.op, "reverse") - 1,
            exit=ended.reply.exit, error=problem or ""))
        return problem is None

    def _put_back(self, resolved: Resolved, prepared: Prepared) -> None:
        """Let a controller step put back what it changed."""
        step = resolved.on_controller
        if step is None:
            raise StepFailed(f"{resolved.type.name} is not a controller step")
        context = self.run.fleet.context(resolved, self.host.name, self.op)
        self._attempt(None, resolved,
                      lambda attempt: step.undo(resolved.params, State(prepared.before), context))
        self.run.write(Verified(**self.about))

    def _attempt(self, session: HostSession | None, resolved: Resolved,
                 act: Callable[[int], Reply | None]) -> Reply | None:
        """One attempt with its INTENT and OUTCOME around it. Where the connection is lost there is no OUTCOME: the next
        attempt asks the receipt first."""
        intent = self._intent(session, resolved)
        attempt = intent.attempt
        fault("before-reverse-intent", self.node.id)
        self.run.write(Started(**self.about), intent)
        fault("after-reverse-intent", self.node.id)
        try:
            looked = act(attempt)
        except (StepFailed, TransportError) as error:
            if session is not None and isinstance(error, TransportError):
                raise
            self.run.write(Outcome(**self.about, ok=False, attempt=attempt,
                                   error=self.run.fleet.secrets.redact(str(error))))
            raise
        fault("after-reverse-effect", self.node.id)
        self.run.write(Outcome(**self.about, ok=True, attempt=attempt))
        return looked

    def _intent(self, session: HostSession | None, resolved: Resolved) -> Intent:
        boot = session.facts(resolved.account).get("boot", "") if session is not None else ""
        return Intent(**self.about, attempt=self.run.next_attempt(self.op, "reverse"), epoch=self.run.lease.epoch,
                      deadline=resolved.timeout, boot=boot)

    def _facts(self, state: State) -> dict[str, Any]:
        return concealed(self.run.fleet.secrets, state.facts)


def _no_reply(outputs: Mapping[str, Any]) -> None:
    """An undo's outputs are of no use to anybody."""
