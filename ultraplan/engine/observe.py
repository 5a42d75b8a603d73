"""Reads the hosts and predicts what the plan would do. Changes nothing anywhere: probes only.

A host's probes go out in one trip. The predictions are then made step by step, in the order of the graph; what an
earlier step of the same plan would change is taken into account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ultraplan.engine.fleet import Fleet
from ultraplan.engine.operations import Result
from ultraplan.engine.overlay import Doubts, Overlay
from ultraplan.engine.plan import Action, Certainty, Plan, Prediction, fingerprint
from ultraplan.engine.resolve import Resolved, Resolver, Unfit, missing, mistake
from ultraplan.engine.scope import Scope
from ultraplan.engine.shape import shape_of
from ultraplan.graph.model import Graph, Node
from ultraplan.language.expressions import ExpressionError, Unknown, UnknownValue
from ultraplan.shell import Account, Program, Reply
from ultraplan.steps.base import Change, HostStep, State, StepFailed, WayBack
from ultraplan.transport.base import TransportError, explained

Key = tuple[str, str]


@dataclass
class _Looked:
    """What the first trip to a host brought: for each node its resolved step and its state, or why not."""

    resolved: dict[str, Resolved] = field(default_factory=dict)
    states: dict[str, State | StepFailed] = field(default_factory=dict)
    unreachable: TransportError | None = None


class Observer:
    """Makes a `Plan` of a graph. ``progress(host, trouble)`` is called after each host's trip."""

    def __init__(self, graph: Graph, fleet: Fleet, resolver: Resolver, scope: Scope,
                 progress: Callable[[str, str | None], None] = lambda host, trouble: None) -> None:
        self._graph, self._fleet, self._resolver, self._scope = graph, fleet, resolver, scope
        self._progress = progress
        self._overlay = Overlay()
        self._nodes_of: dict[str, list[Node]] = {host: [] for host in graph.hosts}
        for node in graph.nodes.values():
            for host in node.hosts:
                self._nodes_of[host].append(node)

    def observe(self, run: str, created: float) -> Plan:
        """Look at every host, then predict."""
        hosts = self._graph.hosts
        pool = ThreadPoolExecutor(max_workers=min(32, max(1, len(hosts))))
        try:
            looked = dict(zip(hosts, pool.map(self._look, hosts), strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a person who interrupts does not wait for silent hosts
        predictions: dict[Key, Prediction] = {}
        for node in self._graph.nodes.values():
            for host in node.hosts:
                if looked[host].unreachable is None:
                    predictions[node.id, host] = self._predict(node, host, looked[host])
        unreachable = {host: explained(seen.unreachable) for host, seen in looked.items()
                       if seen.unreachable is not None}
        no_return = next((node.id for node in self._graph.nodes.values() if node.step.irreversible is not None
                          and any(predictions[node.id, host].changes for host in node.hosts
                                  if (node.id, host) in predictions)), None)
        return Plan(run=run, created=created, graph=self._graph, predictions=predictions, no_return=no_return,
                    unreachable=unreachable, warnings=tuple(self._warnings(no_return)))

    # -- looking ------------------------------------------------------------------------------------------------

    def _look(self, host: str) -> _Looked:
        seen = _Looked()
        wanted: dict[Account | None, list[tuple[str, HostStep[Any], Program]]] = {}
        try:
            session = self._fleet.session(host)
            for node in self._nodes_of[host]:
                resolved = self._try_resolve(node, host)
                if resolved is None and not session.known():  # perhaps for want of facts; a host that is away says so
                    session.facts()
                    resolved = self._try_resolve(node, host)
                if resolved is not None and (step := resolved.on_host) is not None and not _runs_blind(resolved):
                    try:
                        wanted.setdefault(resolved.account, []).append((node.id, step, step.probe(resolved.params)))
                    except Exception:  # noqa: BLE001, S112 - it will say so again where this step is predicted
                        continue
                    seen.resolved[node.id] = resolved
            for account, probes in wanted.items():
                replies = session.look([program for _, _, program in probes], account)
                for (name, step, _), reply in zip(probes, replies, strict=True):
                    seen.states[name] = _observed(step, seen.resolved[name].params, reply)
            if not wanted:
                session.facts()
        except TransportError as error:
            seen.unreachable = error
        self._progress(host, explained(seen.unreachable) if seen.unreachable else None)
        return seen

    def _try_resolve(self, node: Node, host: str) -> Resolved | None:
        """The step, where nothing that runs earlier is needed to know it; its errors are told when it is predicted."""
        where = self._fleet.host(host)
        names = self._scope.names(node, where)
        names["steps"] = _AllUnknown()
        try:
            return self._resolver.resolve(node, where, names)
        except (UnknownValue, StepFailed, ExpressionError):
            return None

    # -- predicting ---------------------------------------------------------------------------------------------

    def _predict(self, node: Node, host: str, seen: _Looked) -> Prediction:
        try:
            prediction, result = self._decide(node, host, seen)
        except UnknownValue as error:
            unknown = Unknown(node.id)
            because = f"known after {', '.join(sorted(error.steps))}"
            prediction = Prediction(node=node.id, host=host, action=Action.UNDECIDED, because=because,
                                    certainty=Certainty.CONDITIONAL, way_back=_declared(node))
            result = Result(unknown, unknown, unknown)
            self._may_change(node, host)
        except TransportError as error:
            prediction = self._impossible(node, host, f"{error}", Doubts())
            result = Result("failed", False)
        except Exception as error:  # noqa: BLE001 - a step type of another package: one mistake must not hide the rest
            known = isinstance(error, (StepFailed, ExpressionError))
            doubt = Doubts() if isinstance(error, Unfit) else self._overlay.doubts(host, ())
            why = str(error) if known else mistake(node.step.type, error)
            prediction = self._impossible(node, host, why, doubt)
            unknown = Unknown(node.id)
            result = Result(unknown, unknown, unknown)
        self._scope.results[node.id, host] = result
        if isinstance(result.outputs, Mapping) and self._sets_facts(node) and prediction.action is not Action.SKIP:
            self._scope.facts_set.setdefault(host, {}).update(result.outputs)
        return prediction

    def _decide(self, node: Node, host: str, seen: _Looked) -> tuple[Prediction, Result]:
        where = self._fleet.host(host)
        names = self._scope.names(node, where)
        why_not = self._resolver.not_wanted(node, lambda one: self._scope.names(one, where))
        if why_not is None and any(around.role == "rescue" for around in node.blocks):
            return self._only_if_rescued(node, host)
        if why_not is not None:
            skip = Prediction(node=node.id, host=host, action=Action.SKIP, certainty=Certainty.KNOWN, because=why_not)
            return skip, Result("skipped", False)
        resolved = seen.resolved.get(node.id) or self._resolver.resolve(node, where, names)
        if resolved.way_back == WayBack.READ_ONLY:
            return self._check(node, host, resolved)
        touched = resolved.type.resources(resolved.params)
        doubts = self._overlay.doubts(host, touched)
        expected = (self._overlay.expected(host, resolved.type.name, touched)
                    if resolved.type.decides_by_facts else None)
        try:
            state = State(expected[0]) if expected is not None else self._state(node, host, resolved, seen)
            change = resolved.type.decide(resolved.params, state)  # type: ignore[attr-defined]
        except StepFailed as error:
            if not doubts:
                raise
            change = Change(summary=f"cannot be said yet: {error}")
            state = State({"kind": "not known"})
        because = f"unless changed by {doubts}" if doubts and state.facts else ""  # what looked at nothing stays so
        if expected is not None:
            others = doubts.without(expected[1])
            because = f"after {expected[1]}{f', {others} permitting' if others else ''}"
        elif change is not None and not doubts:
            because = self._hopes(host, state)
        return self._of_change(node, host, resolved, state, change, touched, because)

    def _hopes(self, host: str, state: State) -> str:
        """Which earlier steps have to make what the change needs; empty where they surely do. Raises `StepFailed`
        where none does."""
        hopes = []
        for folder in state.lacks:
            maker = self._overlay.maker(host, folder)
            if maker is None:
                raise StepFailed(missing(folder))
            if not maker[1]:
                hopes.append(f"if {maker[0]} makes {folder}")
        return ", ".join(hopes)

    def _of_change(self, node: Node, host: str, resolved: Resolved, state: State, change: Change | None,
                   touched: tuple[str, ...], because: str) -> tuple[Prediction, Result]:
        opaque = resolved.type.opaque
        certainty = (Certainty.CONDITIONAL if because and not (opaque and change is not None)
                     else Certainty.OPAQUE if opaque and change is not None else Certainty.KNOWN)
        before = fingerprint(state.facts)
        if change is None:
            now = self._outputs_now(resolved, state)
            nothing = Prediction(node=node.id, host=host, action=Action.NOTHING, certainty=certainty,
                                 because=because, before=before)
            uncertain = Unknown(node.id)
            return nothing, (Result("unchanged", False, now) if certainty is Certainty.KNOWN
                             else Result(uncertain, uncertain, now))
        if opaque:
            self._overlay.anything(node.id, host)
        else:
            self._overlay.change(node.id, host, resolved.type.name, touched, change.touches or touched, change.after,
                                 sure=not because)
        hidden = node.step.no_log
        prediction = Prediction(
            node=node.id, host=host, action=Action.RUN if opaque else Action.CHANGE, certainty=certainty,
            because=because, summary="hidden by no_log" if hidden else change.summary,
            diff=() if hidden else change.diff, before=before, down=change.down, way_back=_way_back(resolved, state))
        unknown = Unknown(node.id)
        outputs: Any = unknown
        if change.outputs is not None:  # what the type could not foretell is known only after the step
            outputs = {**dict.fromkeys(resolved.type.outputs_doc, unknown), **change.outputs}
        return prediction, Result("changed", True, outputs) if not because else Result(unknown, unknown, outputs)

    def _check(self, node: Node, host: str, resolved: Resolved) -> tuple[Prediction, Result]:
        """A step that changes nothing is not run in a preview, except where it only computes (set_fact)."""
        outputs: Any = Unknown(node.id)
        summary = ""
        if resolved.on_controller is not None:
            change = resolved.on_controller.decide(resolved.params, State())
            summary = change.summary if change is not None and not node.step.no_log else ""
            if change is not None and change.outputs is not None:
                outputs = change.outputs
        check = Prediction(node=node.id, host=host, action=Action.CHECK, certainty=Certainty.KNOWN, summary=summary,
                           way_back="changes nothing")
        return check, Result("unchanged", False, outputs)

    def _only_if_rescued(self, node: Node, host: str) -> tuple[Prediction, Result]:
        block = next(around.block for around in node.blocks if around.role == "rescue")
        prediction = Prediction(node=node.id, host=host, action=Action.SKIP, certainty=Certainty.CONDITIONAL,
                                because=f"only if a step of {block} fails", way_back=_declared(node))
        unknown = Unknown(node.id)
        return prediction, Result(unknown, unknown, unknown)

    def _state(self, node: Node, host: str, resolved: Resolved, seen: _Looked) -> State:
        found = seen.states.get(node.id)
        if isinstance(found, StepFailed):
            raise found
        if found is not None:
            return found
        if (controller := resolved.on_controller) is not None:
            return controller.observe(resolved.params, self._fleet.context(resolved, host))
        step = resolved.on_host
        if step is None or _runs_blind(resolved):
            return State()
        reply, = self._fleet.session(host).look([step.probe(resolved.params)], resolved.account)
        return step.observe(resolved.params, reply)

    def _outputs_now(self, resolved: Resolved, state: State) -> Mapping[str, Any]:
        return resolved.on_host.outputs(resolved.params, state, None) if resolved.on_host is not None else {}

    def _impossible(self, node: Node, host: str, why: str, doubts: Doubts) -> Prediction:
        return Prediction(node=node.id, host=host, action=Action.UNDECIDED if doubts else Action.IMPOSSIBLE,
                          certainty=Certainty.CONDITIONAL if doubts else Certainty.KNOWN, summary=why,
                          because=f"unless changed by {doubts}" if doubts else "", way_back=_declared(node))

    def _may_change(self, node: Node, host: str) -> None:
        """``node`` is undecided: what it can reach is in doubt for later steps."""
        names = self._scope.names(node, self._fleet.host(host))
        try:
            reach = self._resolver.reach(node, names)
        except Exception:  # noqa: BLE001 - a step type of another package: where it cannot say, it reaches anything
            reach = None
        if reach is None:
            self._overlay.anything(node.id, host)
        else:
            self._overlay.change(node.id, host, node.step.type, reach, reach, None, sure=False)

    def _sets_facts(self, node: Node) -> bool:
        return self._fleet.registry[node.step.type].sets_facts

    def _warnings(self, no_return: str | None) -> list[str]:
        if no_return is None:
            return []
        reason = self._graph.nodes[no_return].step.irreversible
        warnings = [f"after {no_return} there is no way back ({reason}): a later failure pauses the run for a person"]
        shape = shape_of(self._graph)
        if not any(self._fleet.registry[node.step.type].verifies_backup and shape.follows(no_return, node.id)
                   for node in self._graph.nodes.values()):
            warnings.append(f"no verified backup comes before {no_return}")
        return warnings


def _observed(step: HostStep[Any], params: Any, reply: Reply) -> State | StepFailed:
    try:
        return step.observe(params, reply)
    except StepFailed as error:
        return error


class _AllUnknown(dict[str, Any]):
    """``steps`` before anything ran: every step's values are known only later."""

    def __missing__(self, name: str) -> Any:
        return Unknown(name)

    def __contains__(self, name: object) -> bool:
        return True


def _runs_blind(resolved: Resolved) -> bool:
    """Whether there is nothing to look at: a read-only step is not even probed in a preview."""
    return resolved.way_back == WayBack.READ_ONLY


def _way_back(resolved: Resolved, before: State) -> str:
    confirm = resolved.step.confirm
    armed = "" if confirm is None else f"; armed: undone by the host itself unless confirmed within {confirm}"
    return _undone(resolved, before) + armed


def _undone(resolved: Resolved, before: State) -> str:
    if resolved.step.irreversible is not None:
        return f"none: {resolved.step.irreversible}"
    if resolved.step.undo is not None:
        return f"undo: {resolved.step.undo.type}"
    if resolved.way_back == WayBack.READ_ONLY:
        return "changes nothing"
    if resolved.on_host is None:
        return "put back by the controller"
    return "removed again" if before.facts.get("kind") == "absent" else "restored from its pre-image"


def _declared(node: Node) -> str:
    if node.step.irreversible is not None:
        return f"none: {node.step.irreversible}"
    return f"undo: {node.step.undo.type}" if node.step.undo is not None else ""
