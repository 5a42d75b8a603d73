"""What an operation is, and what is journaled of it: shared by those done alone and those sent together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ultraplan.engine.confine import concealed, told
from ultraplan.engine.hosts import HostSession
from ultraplan.engine.operations import Result
from ultraplan.engine.plan import fingerprint
from ultraplan.engine.receipts import Fenced, is_away
from ultraplan.engine.recover import Ended
from ultraplan.engine.resolve import Resolved, mistake, undo_step
from ultraplan.engine.run import Run, Stopped
from ultraplan.engine.states import OpState
from ultraplan.graph.model import Graph, Node
from ultraplan.journal.base import JournalError
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    Intent,
    Outcome,
    Prepared,
    Started,
    Unchanged,
    Verified,
)
from ultraplan.language.expressions import ExpressionError, Unknown, UnknownValue, truth
from ultraplan.secrets import SecretError
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import Change, HostStep, State, StepFailed, WayBack
from ultraplan.transport.base import TransportError, explained


class Operation:
    """One node on one host, forward. ``together``: nodes that are sent to the host with it, whose results it cannot
    use."""

    def __init__(self, run: Run, node: Node, host: str, together: Collection[str] = ()) -> None:
        self.run, self.node = run, node
        self.host = run.fleet.host(host)
        self.key = (node.id, host)
        self.op = run.op(node.id, host)
        self.about: dict[str, Any] = {"op": self.op, "node": node.id, "host": host}
        self._together = together
        self.names = self.names_of(node)
        self.effect_possible = run.may_have_happened(self.op)

    def names_of(self, node: Node) -> dict[str, Any]:
        """What the expressions of ``node`` (the operation's, or an include that it stands in) see."""
        names = self.run.scope.names(node, self.host)
        if self._together:
            names["steps"] = _Later(names["steps"], node.prefix, self.run.graph, self._together)
        return names

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
                self._fail(explained(error), unreachable=is_away(error))
            case _:  # a step type of another package: its mistakes must not prevent undo
                self._fail(mistake(self.node.step.type, error))

    def preparation(self, resolved: Resolved, state: State, change: Change) -> list[AnyEvent]:
        """The events that make the way back durable; none where it is already."""
        prepared = self.run.way_back(self.key)
        if prepared is not None and self.run.state(self.key) is not OpState.STARTED:
            return []
        if prepared is None:
            prepared = Prepared(
                **self.about, way_back=str(resolved.way_back), summary=self.safe(change.summary),
                reverse=self._reverse(resolved, change), before=self.facts_of(state),
                after=None if change.after is None else self.concealed(change.after))
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

    def judge(self, resolved: Resolved, step: HostStep[Any], program: Program, state: State,
               ended: Ended) -> tuple[str | None, Mapping[str, Any]]:
        """What is wrong after an attempt (None: nothing), and its outputs."""
        if ended.problem is not None:
            return ended.problem, {}
        if ended.reply is None:  # only the host's state can tell; without an exit code it has to be as wanted
            left = step.decide(resolved.params, state)
            return (None if left is None else f"an attempt died; left to do: {left.summary}",
                    self.concealed(step.outputs(resolved.params, state, None)))
        outputs = self.concealed(step.outputs(resolved.params, state, ended.reply))
        problem = _effect_failed(program, ended.reply) or step.verify(resolved.params, state, ended.reply)
        return problem or self.until(resolved, outputs), outputs

    def look(self, session: HostSession, resolved: Resolved, step: HostStep[Any]) -> State:
        reply, = session.look([step.probe(resolved.params)], resolved.account)
        return step.observe(resolved.params, reply)

    def verification(self, attempt: int, reply: Reply | None, outputs: Mapping[str, Any],
                     state: State) -> list[AnyEvent]:
        """The events of an attempt that did what it should."""
        return [Outcome(**self.about, ok=True, attempt=attempt, exit=reply.exit if reply is not None else None),
                Verified(**self.about, outputs=self.kept(outputs), left=self.facts_of(state))]

    def miss(self, attempt: int, problem: str, ended: Ended, state: State | None) -> Outcome:
        """The event of an attempt that did not."""
        return Outcome(
            **self.about, ok=False, attempt=attempt, exit=ended.reply.exit if ended.reply is not None else None,
            error=self.safe(problem), left=None if state is None else self.facts_of(state), began=ended.began)

    def at_rest(self, resolved: Resolved, step: HostStep[Any],
                state: State) -> tuple[Mapping[str, Any], list[AnyEvent]]:
        """The outputs and the events of an operation with nothing left to do."""
        outputs = self.concealed(step.outputs(resolved.params, state, None))
        if self.effect_possible:  # an earlier attempt did it
            return outputs, [Started(**self.about),
                             Verified(**self.about, outputs=self.kept(outputs), left=self.facts_of(state))]
        return outputs, [Started(**self.about), Unchanged(**self.about, outputs=self.kept(outputs))]

    def until(self, resolved: Resolved, outputs: Mapping[str, Any]) -> str | None:
        """What ``until`` is still waiting for, or None."""
        until = resolved.step.until
        if until is None:
            return None
        self.run.scope.results[self.key] = Result("changed", True, outputs)
        return None if truth(until, self.names) else f"until: {until}"

    def hold_promise(self, state: State) -> None:
        promised = self.run.promises.get(self.key)
        if promised is not None and not self.effect_possible and fingerprint(state.facts) != promised:
            raise StepFailed(f"the host is no longer as the plan saw it; now: {told(state.facts)}")

    def _fail(self, why: str, *, unreachable: bool = False) -> None:
        self.run.write(Started(**self.about), Failed(
            **self.about, error=self.safe(why), effect=self.effect_possible, unreachable=unreachable))

    def concealed(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return concealed(self.run.fleet.secrets, value)

    def facts_of(self, state: State) -> dict[str, Any]:
        return self.concealed(state.facts)

    def kept(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {} if self.node.step.no_log else dict(outputs)

    def remember(self, outputs: Mapping[str, Any]) -> None:
        """With ``no_log`` outputs are not in the journal, but this process may still use them."""
        if self.node.step.no_log:
            known = self.run.scope.results[self.key]
            self.run.scope.results[self.key] = Result(known.status, known.changed, outputs)

    def safe(self, text: str) -> str:
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
