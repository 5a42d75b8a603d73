"""One operation forward: look, decide, make the way back durable, say what is intended, act, verify."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ultraplan.engine.confine import concealed, told
from ultraplan.engine.confirm import DeadMan, Judge, Verdict
from ultraplan.engine.faults import fault
from ultraplan.engine.hosts import Fenced, HostSession, Unusable
from ultraplan.engine.operations import Result
from ultraplan.engine.plan import fingerprint
from ultraplan.engine.recover import Ended, Recovery
from ultraplan.engine.resolve import Resolved, missing, mistake, undo_step
from ultraplan.engine.run import Run, Stopped
from ultraplan.engine.states import OpState
from ultraplan.graph.model import Graph, Node
from ultraplan.journal.base import JournalError
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    InDoubt,
    Intent,
    Outcome,
    Prepared,
    Skipped,
    Started,
    Unchanged,
    Verified,
)
from ultraplan.language.expressions import ExpressionError, Unknown, UnknownValue, truth
from ultraplan.secrets import SecretError
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import Change, ControllerStep, HostStep, State, StepFailed, WayBack
from ultraplan.transport.base import TransportError, explained

RETRIES_WITH_UNTIL = 3
"""How often a step with ``until`` and no ``retries`` is tried again (as in Ansible)."""


class Forward:
    """Carries out forward operations. Every ending is in the journal when a call returns."""

    def __init__(self, run: Run, recovery: Recovery) -> None:
        self._run, self._recovery = run, recovery

    def __call__(self, node_id: str, host: str) -> None:
        """Do what is left of the operation. Raises `Stopped` where it may not begin, `Fenced`, `JournalError`."""
        Operation(self._run, self._recovery, self._run.node(node_id), host).carry_out()


class Operation:
    """One node on one host, while it is worked on. ``together``: nodes that are sent to the host with it, whose results
    it cannot use."""

    def __init__(self, run: Run, recovery: Recovery, node: Node, host: str, together: Collection[str] = ()) -> None:
        self.run, self.recovery, self.node = run, recovery, node
        self.host = run.fleet.host(host)
        self.key = (node.id, host)
        self.op = run.op(node.id, host)
        self.about: dict[str, Any] = {"op": self.op, "node": node.id, "host": host}
        self._together = together
        self.names = self.names_of(node)
        self.effect_possible = run.may_have_happened(self.op)
        self.dead_man = DeadMan(run, recovery, node, host)
        self.fewest = -1
        """Retries left at least, whatever was spent."""

    def names_of(self, node: Node) -> dict[str, Any]:
        """What the expressions of ``node`` (the operation's, or an include that it stands in) see."""
        names = self.run.scope.names(node, self.host)
        if self._together:
            names["steps"] = _Later(names["steps"], node.prefix, self.run.graph, self._together)
        return names

    def carry_out(self) -> None:
        """Do what is left of it. Every ending is in the journal afterwards. Raises `Stopped`, `Fenced`,
        `JournalError`."""
        try:
            self._carry_out()
        except Exception as error:  # noqa: BLE001 - what is not the operation's own is raised again
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Journal that ``error`` ended it; raises what is no failure of the operation."""
        match error:
            case Fenced() | Stopped() | JournalError():
                raise error
            case StepFailed() | ExpressionError() | SecretError():
                self._fail(str(error))
            case UnknownValue():
                self._fail(f"needs a value of {', '.join(sorted(error.steps))}, which did not run")
            case TransportError():
                self._fail(explained(error), unreachable=True)
            case _:  # a step type of another package: its mistakes must not prevent undo
                self._fail(mistake(self.node.step.type, error))

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

    # -- steps that change nothing ------------------------------------------------------------------------------

    def _look_on(self, resolved: Resolved) -> None:
        for left in self._tries(resolved):
            problem, outputs = self._look_once(resolved)
            problem = problem or self._until(resolved, outputs)
            if problem is None:
                self.run.write(Started(**self.about), Verified(**self.about, outputs=self._kept(outputs)))
                self.remember(outputs)
                return
            self._again_or_raise(resolved, problem, left)

    def _look_once(self, resolved: Resolved) -> tuple[str | None, Mapping[str, Any]]:
        if (controller := resolved.on_controller) is not None:
            context = self.run.fleet.context(resolved, self.host.name, self.op, self.node.id)
            try:
                return None, self._concealed(controller.act(resolved.params, State(), context))
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
            return None, self._concealed(step.outputs(resolved.params, state, None))
        reply = session.ask(self.run.here, change.forward, resolved.account, resolved.environment, resolved.timeout)
        return (step.verify(resolved.params, state, reply),
                self._concealed(step.outputs(resolved.params, state, reply)))

    # -- steps on hosts -----------------------------------------------------------------------------------------

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
            error=self._safe(verdict.problem), left=self._facts(verdict.state), began=verdict.ended.began,
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

    def preparation(self, resolved: Resolved, state: State, change: Change) -> list[AnyEvent]:
        """The events that make the way back durable; none where it is already."""
        prepared = self.run.way_back(self.key)
        if prepared is not None and self.run.state(self.key) is not OpState.STARTED:
            return []
        if prepared is None:
            prepared = Prepared(
                **self.about, way_back=str(resolved.way_back), summary=self._safe(change.summary),
                reverse=self._reverse(resolved, change), before=self._facts(state),
                after=None if change.after is None else self._concealed(change.after))
        return [Started(**self.about), prepared]

    def intent(self, resolved: Resolved, session: HostSession | None) -> Intent:
        """The event after which the effect may happen."""
        boot = session.facts(resolved.account).get("boot", "") if session is not None else ""
        confirm = None if resolved.step.confirm is None else float(resolved.step.confirm)
        return Intent(**self.about, attempt=self.run.next_attempt(self.op, "forward"), epoch=self.run.lease.epoch,
                      deadline=resolved.timeout, boot=boot, confirm=confirm)

    def _reverse(self, resolved: Resolved, change: Change) -> dict[str, Any] | None:
        kept = {"params": resolved.stored, "environment": dict(resolved.environment)}
        if resolved.way_back == "irreversible":
            return None
        if resolved.step.undo is not None:
            undo = undo_step(resolved.step, resolved.step.undo)
            names = {**self.names, "vars": self.names_of(self.node)["vars"]}
            way = self.run.resolver.resolve(self.node, self.host, names, undo)
            return {**kept, "undo": {"params": way.stored, "environment": dict(way.environment)}}
        if resolved.on_controller is not None:
            return {**kept, "controller": True}
        if resolved.way_back == WayBack.DECLARED or change.reverse is None:
            raise StepFailed(f"{resolved.type.name} has no way back: it needs undo, reads_only or irreversible")
        if change.reverse.uploads:
            raise StepFailed(f"{resolved.type.name}'s way back needs files that may be gone by then")
        return {**kept, "program": change.reverse.text, "foreign": change.reverse.foreign}

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

    def judge(self, resolved: Resolved, step: HostStep[Any], program: Program, state: State,
               ended: Ended) -> tuple[str | None, Mapping[str, Any]]:
        """What is wrong after an attempt (None: nothing), and its outputs."""
        if ended.problem is not None:
            return ended.problem, {}
        if ended.reply is None:  # only the host's state can tell; without an exit code it has to be as wanted
            left = step.decide(resolved.params, state)
            return (None if left is None else f"an attempt died; left to do: {left.summary}",
                    self._concealed(step.outputs(resolved.params, state, None)))
        outputs = self._concealed(step.outputs(resolved.params, state, ended.reply))
        problem = _effect_failed(program, ended.reply) or step.verify(resolved.params, state, ended.reply)
        return problem or self._until(resolved, outputs), outputs

    def look(self, session: HostSession, resolved: Resolved, step: HostStep[Any]) -> State:
        reply, = session.look([step.probe(resolved.params)], resolved.account)
        return step.observe(resolved.params, reply)

    def _verified(self, attempt: int, reply: Reply | None, outputs: Mapping[str, Any], state: State) -> None:
        fault("before-verified", self.node.id)
        self.run.write(*self.verification(attempt, reply, outputs, state))
        fault("after-verified", self.node.id)
        self.remember(outputs)

    def verification(self, attempt: int, reply: Reply | None, outputs: Mapping[str, Any],
                     state: State) -> list[AnyEvent]:
        """The events of an attempt that did what it should."""
        return [Outcome(**self.about, ok=True, attempt=attempt, exit=reply.exit if reply is not None else None),
                Verified(**self.about, outputs=self._kept(outputs), left=self._facts(state))]

    def miss(self, attempt: int, problem: str, ended: Ended, state: State | None) -> Outcome:
        """The event of an attempt that did not."""
        return Outcome(
            **self.about, ok=False, attempt=attempt, exit=ended.reply.exit if ended.reply is not None else None,
            error=self._safe(problem), left=None if state is None else self._facts(state), began=ended.began)

    def _settled_already(self, resolved: Resolved, step: HostStep[Any], state: State) -> None:
        outputs, events = self.at_rest(resolved, step, state)
        self.run.write(*events)
        self.remember(outputs)

    def at_rest(self, resolved: Resolved, step: HostStep[Any],
                state: State) -> tuple[Mapping[str, Any], list[AnyEvent]]:
        """The outputs and the events of an operation with nothing left to do."""
        outputs = self._concealed(step.outputs(resolved.params, state, None))
        if self.effect_possible:  # an earlier attempt did it
            return outputs, [Started(**self.about),
                             Verified(**self.about, outputs=self._kept(outputs), left=self._facts(state))]
        return outputs, [Started(**self.about), Unchanged(**self.about, outputs=self._kept(outputs))]

    # -- steps on the controller --------------------------------------------------------------------------------

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
                outputs = self._concealed(step.act(resolved.params, state, context))
                problem = self._until(resolved, outputs)
            except StepFailed as error:
                problem, outputs = str(error), {}
            fault("after-effect", self.node.id)
            if problem is None:
                self._verified(attempt, None, outputs, step.observe(resolved.params, context))
                return
            self.run.write(Outcome(**self.about, ok=False, attempt=attempt, error=self._safe(problem)))
            self._again_or_raise(resolved, problem, left)

    # -- trying again -------------------------------------------------------------------------------------------

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
                      self._safe(f"{problem}; next try in {resolved.step.delay}, {left} left"))
        self.run.sleep(float(resolved.step.delay))

    def _until(self, resolved: Resolved, outputs: Mapping[str, Any]) -> str | None:
        """What ``until`` is still waiting for, or None."""
        until = resolved.step.until
        if until is None:
            return None
        self.run.scope.results[self.key] = Result("changed", True, outputs)
        return None if truth(until, self.names) else f"until: {until}"

    # -- endings ------------------------------------------------------------------------------------------------

    def hold_promise(self, state: State) -> None:
        promised = self.run.promises.get(self.key)
        if promised is not None and not self.effect_possible and fingerprint(state.facts) != promised:
            raise StepFailed(f"the host is no longer as the plan saw it; now: {told(state.facts)}")

    def _fail(self, why: str, *, unreachable: bool = False) -> None:
        self.run.write(Started(**self.about), Failed(
            **self.about, error=self._safe(why), effect=self.effect_possible, unreachable=unreachable))

    def _concealed(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return concealed(self.run.fleet.secrets, value)

    def _facts(self, state: State) -> dict[str, Any]:
        return self._concealed(state.facts)

    def _kept(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {} if self.node.step.no_log else dict(outputs)

    def remember(self, outputs: Mapping[str, Any]) -> None:
        """With ``no_log`` outputs are not in the journal, but this process may still use them."""
        if self.node.step.no_log:
            known = self.run.scope.results[self.key]
            self.run.scope.results[self.key] = Result(known.status, known.changed, outputs)

    def _safe(self, text: str) -> str:
        return "hidden by no_log" if self.node.step.no_log else self.run.fleet.secrets.redact(text)


def _effect_failed(program: Program, reply: Reply) -> str | None:
    """Why our own program failed; a person's program is judged by its step type."""
    if program.foreign or reply.exit == 0:
        return None
    words = reply.error_text.strip() or reply.text.strip()
    return f"exit {reply.exit}: {words[-500:]}" if words else f"exit {reply.exit}"


class _Later(Mapping[str, Any]):
    """``steps`` as they are known now: what is sent together has no results yet."""

    def __init__(self, steps: Mapping[str, Any], prefix: str, graph: Graph, together: Collection[str]) -> None:
        self._steps, self._prefix, self._graph = steps, prefix, graph
        self._together = frozenset(together)

    def __getitem__(self, name: str) -> Any:
        full = self._prefix + name
        if full in self._together or not self._together.isdisjoint(self._graph.aliases.get(full, ())):
            return Unknown(name)
        return self._steps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)
