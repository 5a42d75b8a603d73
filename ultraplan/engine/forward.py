"""One operation forward: look, decide, make the way back durable, say what is intended, act, verify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultraplan.engine.confirm import DeadMan, Judge, Verdict
from ultraplan.engine.faults import fault
from ultraplan.engine.forward_operation import Operation
from ultraplan.engine.hosts import HostSession
from ultraplan.engine.receipts import Fenced, Unusable
from ultraplan.engine.recover import Ended, Recovery
from ultraplan.engine.resolve import Resolved, missing
from ultraplan.engine.run import Run
from ultraplan.engine.states import OpState
from ultraplan.graph.model import Node
from ultraplan.journal.events import (
    InDoubt,
    Outcome,
    Skipped,
    Started,
    Unchanged,
    Verified,
)
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import Change, ControllerStep, HostStep, State, StepFailed
from ultraplan.transport.base import TransportError

RETRIES_WITH_UNTIL = 3
"""How often a step with ``until`` and no ``retries`` is tried again (as in Ansible)."""


class Forward:
    """Carries out forward operations. Every ending is in the journal when a call returns."""

    def __init__(self, run: Run, recovery: Recovery) -> None:
        self._run, self._recovery = run, recovery

    def __call__(self, node_id: str, host: str) -> None:
        """Do what is left of the operation. Raises `Stopped` where it may not begin, `Fenced`, `JournalError`."""
        _Alone(self._run, self._recovery, self._run.node(node_id), host).carry_out()


class _Alone(Operation):
    """An operation while it is worked on by itself."""

    def __init__(self, run: Run, recovery: Recovery, node: Node, host: str) -> None:
        super().__init__(run, node, host)
        self.recovery = recovery
        self.dead_man = DeadMan(run, recovery, node, host)
        self.fewest = -1
        """Retries left at least, whatever was spent."""

    def carry_out(self) -> None:
        """Do what is left of it. Every ending is in the journal afterwards. Raises `Stopped`, `Fenced`,
        `JournalError`."""
        try:
            self._carry_out()
        except Exception as error:  # noqa: BLE001 - what is not the operation's own is raised again
            self.fail(error)

    def _carry_out(self) -> None:
        why_not = self.run.resolver.not_wanted(self.node, self.names_of)
        if why_not is not None and not self.effect_possible:
            self.run.write(Skipped(**self.about, why=why_not))
            return
        resolved = self.run.resolver.resolve(self.node, self.host, self.names)
        if resolved.read_only:
            self._look_on(resolved)
        elif resolved.on_host is not None:
            self._on_host(resolved, resolved.on_host)
        elif resolved.on_controller is not None:
            self._on_controller(resolved, resolved.on_controller)

    # -- steps that change nothing --------------------------------------------------------------------------------

    def _look_on(self, resolved: Resolved) -> None:
        for left in self._tries(resolved):
            problem, outputs = self._look_once(resolved)
            problem = problem or self.until(resolved, outputs)
            if problem is None:
                self.run.write(Started(**self.about), Verified(**self.about, outputs=self.kept(outputs)))
                self.remember(outputs)
                return
            self._again_or_raise(resolved, problem, left)

    def _look_once(self, resolved: Resolved) -> tuple[str | None, Mapping[str, Any]]:
        if (controller := resolved.on_controller) is not None:
            context = self.run.fleet.context(resolved, self.host.name, self.op, self.node.id)
            try:
                return None, self.concealed(controller.act(resolved.params, State(), context))
            except StepFailed as error:
                return str(error), {}
        step = resolved.on_host
        if step is None:
            raise StepFailed(f"{resolved.type.name} is neither a host step nor a controller step")
        session = self.run.fleet.session(self.host.name)
        probed, = session.look([step.probe(resolved.params)], resolved.account)
        state = step.observe(resolved.params, probed)
        change = step.decide(resolved.params, state)
        if change is None or change.forward is None:
            return None, self.concealed(step.outputs(resolved.params, state, None))
        reply = session.ask(self.run.here, change.forward, resolved.account, resolved.environment, resolved.timeout)
        return (step.verify(resolved.params, state, reply),
                self.concealed(step.outputs(resolved.params, state, reply)))

    # -- steps on hosts -------------------------------------------------------------------------------------------

    def _on_host(self, resolved: Resolved, step: HostStep[Any]) -> None:
        session = self.run.fleet.session(self.host.name)
        if self.run.state(self.key) in (OpState.INTENT, OpState.DONE) and self._adopt(session, resolved, step):
            return
        self._stop_where_all_tries_failed(resolved)
        probe = step.probe(resolved.params)
        replied, = session.look([probe], resolved.account)
        state = step.observe(resolved.params, replied)
        for left in self._tries(resolved):
            change = step.decide(resolved.params, state)
            if change is None:
                self._settled_already(resolved, step, state)
                return
            if change.forward is None:
                raise StepFailed(f"{step.name} knows what is left to do ({change.summary}) but not how")
            if state.lacks:
                raise StepFailed(missing(state.lacks[0]))
            self.hold_promise(state)
            self.run.check_may_effect(self.key, "forward")
            attempt = self._announce(resolved, state, change, session)
            if resolved.step.confirm is not None:
                session, verdict = self.dead_man.carry_out(session, resolved, change.forward, attempt,
                                                           self._judge_of(resolved, step, change.forward))
                if self._took(attempt, verdict):
                    return
                self._again_or_raise(resolved, verdict.problem or "", left)
                state = self.look(session, resolved, step)
                continue
            ended = self._effect(session, resolved, change.forward, probe, attempt)
            if ended.reply is None and ended.problem is None and step.opaque:
                self.run.write(InDoubt(**self.about, why="its receipt has no exit code"))
                return
            state = (step.observe(resolved.params, ended.looked) if ended.looked is not None
                     else self.look(session, resolved, step))
            problem, outputs = self.judge(resolved, step, change.forward, state, ended)
            if problem is None:
                self._verified(attempt, ended.reply, outputs, state)
                return
            self.run.write(self.miss(attempt, problem, ended, state))
            fault("after-outcome", self.node.id)
            self._again_or_raise(resolved, problem, left)

    def _adopt(self, session: HostSession, resolved: Resolved, step: HostStep[Any]) -> bool:
        """After a crash: find out how the interrupted attempt ended and take its outcome over. Whether that ends the
        operation; where not, it is safe to try again."""
        known = self.run.last_intent(self.op, "forward")
        if known is None:
            return False
        attempt = known[0].attempt
        self.dead_man.await_host(session, resolved)
        receipt = self.recovery.receipt(session, self.op, str(attempt), resolved.account, resolved.timeout)
        ended = self.recovery.ended(session, self.op, str(attempt), resolved.account, receipt, known[0].boot)
        if known[0].confirm is not None and (receipt.state != "absent" or ended != Ended(None)):
            verdict = self.dead_man.judged(session, resolved, attempt, ended,
                                           self._judge_of(resolved, step, Program("", foreign=step.opaque)))
            if self._took(attempt, verdict):
                return True
            if ended.began and ended.reply is None:
                self.fewest = 0
            elif ended.began and self._left(resolved) < 0:
                raise StepFailed(verdict.problem)
            return False
        if ended.problem is not None:
            self.run.write(self.miss(attempt, ended.problem, ended, None))
            return False
        if ended.reply is None and step.opaque:
            self.run.write(InDoubt(**self.about, why="it began, and left no exit code when it died"))
            return True
        state = self.look(session, resolved, step)
        program = Program("", foreign=step.opaque)
        problem, outputs = self.judge(resolved, step, program, state, ended)
        if problem is None:
            self._verified(attempt, ended.reply, outputs, state)
            return True
        self.run.write(self.miss(attempt, problem, ended, None))
        if ended.reply is None:
            self.fewest = 0  # that it died says nothing of whether the step can succeed
        elif self._left(resolved) < 0:
            raise StepFailed(problem)
        return False

    def _judge_of(self, resolved: Resolved, step: HostStep[Any], program: Program) -> Judge:
        def judge(session: HostSession, ended: Ended) -> tuple[State, str | None, Mapping[str, Any]]:
            state = self.look(session, resolved, step)
            return state, *self.judge(resolved, step, program, state, ended)

        return judge

    def _took(self, attempt: int, verdict: Verdict) -> bool:
        """Into the journal what an armed attempt came to; whether it is verified. Raises `StepFailed` where it may not
        be tried again."""
        reply = verdict.ended.reply
        if verdict.problem is None:
            self._verified(attempt, reply, verdict.outputs, verdict.state)
            return True
        self.run.write(Outcome(
            **self.about, ok=False, attempt=attempt, exit=reply.exit if reply is not None else None,
            error=self.safe(verdict.problem), left=self.facts_of(verdict.state), began=verdict.ended.began,
            undone=verdict.undone))
        fault("after-outcome", self.node.id)
        if verdict.final:
            raise StepFailed(verdict.problem)
        return False

    def _announce(self, resolved: Resolved, state: State, change: Change, session: HostSession | None) -> int:
        """PREPARED (once) and INTENT, durable together before the effect."""
        intent = self.intent(resolved, session)
        events = [*self.preparation(resolved, state, change), intent]
        fault("before-intent", self.node.id)
        self.run.write(*events)
        self.effect_possible = True
        fault("after-intent", self.node.id)
        return intent.attempt

    def _effect(self, session: HostSession, resolved: Resolved, program: Program, probe: Program,
                attempt: int) -> Ended:
        """Let it happen, and find out how it ended."""
        try:
            reply, looked = session.effect(
                self.run.here, self.op, str(attempt), program, account=resolved.account,
                environment=resolved.environment, deadline=resolved.timeout, then=probe)
        except Unusable as error:
            raise StepFailed(str(error)) from None
        except Fenced:
            raise
        except TransportError as error:
            return self.recovery.found(session, self.op, str(attempt), resolved, error)
        fault("after-effect", self.node.id)
        return Ended(reply, looked)

    def _verified(self, attempt: int, reply: Reply | None, outputs: Mapping[str, Any], state: State) -> None:
        fault("before-verified", self.node.id)
        self.run.write(*self.verification(attempt, reply, outputs, state))
        fault("after-verified", self.node.id)
        self.remember(outputs)

    def _settled_already(self, resolved: Resolved, step: HostStep[Any], state: State) -> None:
        outputs, events = self.at_rest(resolved, step, state)
        self.run.write(*events)
        self.remember(outputs)

    # -- steps on the controller ----------------------------------------------------------------------------------

    def _on_controller(self, resolved: Resolved, step: ControllerStep[Any]) -> None:
        context = self.run.fleet.context(resolved, self.host.name, self.op, self.node.id)
        if self.run.state(self.key) is OpState.INTENT and not step.idempotent_with(resolved.params):
            self.run.write(InDoubt(**self.about, why="it was under way, and doing it twice may not be safe"))
            return
        if self.run.state(self.key) is OpState.INTENT:
            self.fewest = 0
        self._stop_where_all_tries_failed(resolved)
        for left in self._tries(resolved):
            state = step.observe(resolved.params, context)
            change = step.decide(resolved.params, state)
            if change is None:
                self.run.write(Started(**self.about), Unchanged(**self.about))
                return
            self.run.check_may_effect(self.key, "forward")
            attempt = self._announce(resolved, state, change, None)
            try:
                outputs = self.concealed(step.act(resolved.params, state, context))
                problem = self.until(resolved, outputs)
            except StepFailed as error:
                problem, outputs = str(error), {}
            fault("after-effect", self.node.id)
            if problem is None:
                self._verified(attempt, None, outputs, step.observe(resolved.params, context))
                return
            self.run.write(Outcome(**self.about, ok=False, attempt=attempt, error=self.safe(problem)))
            self._again_or_raise(resolved, problem, left)

    # -- trying again ---------------------------------------------------------------------------------------------

    def _tries(self, resolved: Resolved) -> range:
        """How many further tries each turn has left, counting down to 0."""
        return range(max(self._left(resolved), self.fewest), -1, -1)

    def _left(self, resolved: Resolved) -> int:
        """How many retries are left; -1 where the first try and all retries failed (before a crash, too)."""
        step = resolved.step
        retries = RETRIES_WITH_UNTIL if step.until is not None and step.retries == 0 else step.retries
        return retries - self.run.spent(self.op)

    def _stop_where_all_tries_failed(self, resolved: Resolved) -> None:
        """After a crash between the last try and the word that the operation failed."""
        last = self.run.outcome(self.op, "forward")
        if last is not None and self.run.state(self.key) is OpState.MISSED and self._left(resolved) < 0 > self.fewest:
            raise StepFailed(last.error)

    def _again_or_raise(self, resolved: Resolved, problem: str, left: int) -> None:
        if left == 0:
            raise StepFailed(problem)
        self.run.tell(self.node.id, self.host.name,
                      self.safe(f"{problem}; next try in {resolved.step.delay}, {left} left"))
        self.run.sleep(float(resolved.step.delay))
