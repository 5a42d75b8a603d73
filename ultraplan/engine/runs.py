"""The verbs of a run: preview, apply, resume, roll back, resolve. What a command line or a service calls."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ultraplan import __version__
from ultraplan.engine import bundle
from ultraplan.engine.conduct import Conductor
from ultraplan.engine.drive import Driver
from ultraplan.engine.job import Job, know_secrets, user
from ultraplan.engine.observe import Observer
from ultraplan.engine.operations import op_id
from ultraplan.engine.people import People, questions
from ultraplan.engine.plan import Action, Certainty, Key, Plan
from ultraplan.engine.run import Run, Telling
from ultraplan.engine.settings import Settings
from ultraplan.engine.shape import shape_of
from ultraplan.engine.states import UNDER_WAY, OpState
from ultraplan.engine.telling import InOrder, Listener
from ultraplan.engine.undoing import Foreseen, Foresight
from ultraplan.inventory.references import references_in
from ultraplan.journal.base import JournalDamaged, Lease, Store
from ultraplan.journal.events import (
    Answered,
    AnyEvent,
    Asked,
    Failed,
    Record,
    Resolved,
    RollbackDecided,
    RunClosed,
    RunOpened,
    TakenOver,
)
from ultraplan.journal.holder import holder
from ultraplan.transport.base import TransportError

LEASE_SECONDS = 30.0
"""How long a lock outlives its holder's last sign of life."""


class NotPossible(Exception):
    """What was asked cannot be done with this run; the message says why and what can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who listens and who answers while a run goes on. ``ask`` None: nobody is at a terminal, and questions wait for
    `answer`. ``started`` gets the run before it starts (for signals)."""

    listeners: Sequence[Listener] = ()
    tell: Telling = lambda node, host, text: None
    ask: Callable[[str, float | None], bool] | None = None
    started: Callable[[Run], None] = lambda run: None


def preview(job: Job, progress: Callable[[str, str | None], None] = lambda host, trouble: None) -> Plan:
    """Look at the hosts and predict. Changes nothing. Host troubles are in `Plan.unreachable`."""
    _know_its_secrets(job)
    plan = Observer(job.graph, job.fleet, job.resolver, job.scope, progress).observe(job.name.id, time.time())
    return dataclasses.replace(plan, digests=digests(job))


def digests(job: Job) -> dict[str, str]:
    """What went into a plan: each source file, ``inventory`` and ``inputs``, each with its SHA-256."""
    inventory = job.graph.inventory
    hosts = {name: [host.groups, host.vars] for name, host in inventory.hosts.items() if name in job.graph.hosts}
    return {**job.sources.digests(), "inventory": _digest(hosts), "inputs": _digest(dict(job.graph.inputs)),
            "hosts": _digest([job.graph.hosts, job.graph.batches])}


def apply(job: Job, plan: Plan, store: Store, watch: Watch) -> RunClosed:
    """Carry out ``plan``. Raises `Locked`, `LeaseLost`, `JournalError`, `TransportError` (fenced)."""
    lease = store.acquire(_locks(job), job.name.id, holder(), LEASE_SECONDS)
    try:
        promises = promised(plan)
        job.scope.results.clear()
        job.scope.facts_set.clear()
        store.create(job.name.id, bundle.pack(job, promises), lease)
        run = _run(job, store, lease, promises, watch)
        run.write(RunOpened(plan=job.graph.document.name, digests=dict(plan.digests), epoch=lease.epoch,
                            hosts=list(job.graph.hosts), version=__version__, user=user(),
                            objectives={name: float(time) for name, time in job.graph.document.objectives.items()}))
        return _drive(run, watch)
    finally:
        store.release(lease)


def promised(plan: Plan) -> dict[Key, str]:
    """What known predictions rest on: they hold at apply, or the step fails."""
    return {key: one.before for key, one in plan.predictions.items()
            if one.certainty is Certainty.KNOWN and one.before is not None
            and one.action in (Action.CHANGE, Action.NOTHING)}


def resume(run_id: str, settings: Settings, store: Store, watch: Watch) -> RunClosed:
    """Go on with a run that was interrupted, paused or killed, forward or backward as it was going."""
    return _go_on(run_id, settings, store, watch, "resume")


def foresee_rollback(run_id: str, settings: Settings, store: Store) -> Foreseen:
    """What `rollback` would do to a run, from its journal and a look at its hosts. Changes nothing, takes no lock.
    Raises `NotPossible`, `JournalError`."""
    job, _ = bundle.unpack(store.bundle(run_id), settings)
    try:
        _know_its_secrets(job)
        conductor = Conductor(shape_of(job.graph))
        records = list(store.read(run_id))
        foresight = Foresight(job, conductor, records)
        _check_possible(conductor, "rollback", records)
        return foresight.foresee()
    finally:
        job.close()


def rollback(run_id: str, settings: Settings, store: Store, watch: Watch) -> RunClosed:
    """Undo a run: one that was interrupted, or one that is finished."""
    return _go_on(run_id, settings, store, watch, "rollback")


def prune(run_id: str, settings: Settings, store: Store) -> list[str]:
    """Forget a closed run: its receipts and pre-images on the hosts, then its journal. Gives what could not be removed
    from hosts, a line each; the journal is kept then, so that it can be tried again. Raises `JournalError`."""
    if next((one.status for one in store.runs() if one.run == run_id), "open") == "open":
        raise NotPossible("this run is open; resume or roll it back first")
    try:
        packed = store.bundle(run_id)
    except JournalDamaged as error:
        return [f"its hosts, which are not known: {error}"]
    job, _ = bundle.unpack(packed, settings)
    left = []
    try:
        for host in job.graph.hosts:
            nodes = [node for node in job.graph.nodes.values() if host in node.hosts]
            for account in {job.resolver.account(node.step, host) for node in nodes}:
                try:
                    job.fleet.session(host).remove(run_id, account)
                except TransportError as error:
                    left.append(f"{host}: {error}")
    finally:
        job.close()
    if not left:
        store.prune(run_id)
        shutil.rmtree(settings.state / "runs" / run_id, ignore_errors=True)
    return left


Answer = Literal["done", "not-done", "undone"]
"""What a person may say of an operation: it was carried out, it was not, or (of one that could not be undone) whatever
it left was put right by hand."""


def resolve(run_id: str, op: str, said: Answer, settings: Settings, store: Store) -> Key:
    """A person says how an operation in doubt ended, or that one that could not be undone is undone by now; gives its
    node and host. ``op``: its id, a prefix of it, or NODE@HOST. Raises `NotPossible`."""
    job, _ = bundle.unpack(store.bundle(run_id), settings)
    conductor = Conductor(shape_of(job.graph))
    conductor.replay(store.read(run_id))
    open_ones = ([(key, "reverse") for key in conductor.unwind.stuck] if said == "undone" else conductor.in_doubt())
    found = [(key, direction) for key, direction in open_ones if op_id(run_id, *key).startswith(op)
             or f"{key[0]}@{key[1]}" == op]
    if len(found) != 1:
        known = ", ".join(f"{op_id(run_id, *key)} ({key[0]} on {key[1]})" for key, _ in open_ones) or "none"
        what = "that could not be undone" if said == "undone" else "in doubt"
        raise NotPossible(f"{op} names no operation {what}; {what}: {known}")
    (key, direction), = found
    lease = store.acquire(_locks(job), run_id, holder(), LEASE_SECONDS)
    try:
        store.append(run_id, [Resolved(op=op_id(run_id, *key), node=key[0], host=key[1], direction=direction,  # type: ignore[arg-type]
                                       done=said != "not-done", user=user())], lease)
    finally:
        store.release(lease)
    return key


def answer(run_id: str, yes: bool, store: Store, step: str | None = None) -> Asked:
    """Answer a step's question; gives the question. ``step``: STEP or STEP@HOST, needed where several ask.

    Raises `NotPossible`."""
    asked = questions(run_id, store)
    found = [one for one in asked if step is None or step in (one.node, f"{one.node}@{one.host}")]
    if len(found) != 1:
        which = ", ".join(f"{one.node}@{one.host}" for one in asked)
        raise NotPossible("nothing is asked" if not asked else f"say which question is meant, with --step: {which}")
    one = found[0]
    store.append(run_id, [Answered(op=one.op, node=one.node, host=one.host, yes=yes, user=user())])
    return one


def _go_on(run_id: str, settings: Settings, store: Store, watch: Watch, verb: str) -> RunClosed:
    job, promises = bundle.unpack(store.bundle(run_id), settings)
    try:
        _know_its_secrets(job)
        lease = store.acquire(_locks(job), run_id, holder(), LEASE_SECONDS)
        try:
            run = _run(job, store, lease, promises, watch, quiet=True)
            records = list(store.read(run_id))
            run.take_in(records)
            _check_possible(run.conductor, verb, records)
            run.telling = InOrder(watch.listeners)
            run.write(TakenOver(epoch=lease.epoch, verb=verb, user=user()))  # type: ignore[arg-type]
            if verb == "rollback":
                _turn_round(run)
            return _drive(run, watch)
        finally:
            store.release(lease)
    finally:
        job.close()


def why_not_resume(run_id: str, settings: Settings, store: Store) -> str | None:
    """Why `resume` can do nothing for a run; None where it can. Raises `JournalError`."""
    job, _ = bundle.unpack(store.bundle(run_id), settings)
    try:
        records = list(store.read(run_id))
        conductor = Conductor(shape_of(job.graph))
        conductor.replay(records)
        _check_possible(conductor, "resume", records)
    except NotPossible as error:
        return str(error)
    finally:
        job.close()
    return None


def _check_possible(conductor: Conductor, verb: str, records: Sequence[Record]) -> None:
    """Raises `NotPossible` where ``verb`` could change nothing any more. ``conductor``: as ``records`` left it."""
    match conductor.closed:
        case "rolled_back":
            raise NotPossible("this run was rolled back already; nothing is left to undo (apply does it anew)")
        case "rolled_back_in_part" if conductor.unwind.finished:
            raise NotPossible("this run was rolled back as far as there is a way back; what is left is irreversible by "
                              "the plan's word (where a person has undone it: ultraplan resolve RUN STEP@HOST --as "
                              "undone)")
        case "succeeded" if verb == "resume":
            raise NotPossible("this run succeeded; there is nothing to resume (ultraplan rollback undoes it)")
        case "failed" if verb == "resume":
            trial = Conductor(conductor.shape)
            trial.replay(records)
            trial.record(TakenOver(epoch=0, verb="resume"), len(records) + 1)
            if isinstance(trial.decide(), RunClosed):
                back = ", ".join(sorted(conductor.unwinding)) or "no host"
                raise NotPossible(f"there is nothing to resume: what failed was rolled back ({back}), and a rollback "
                                  "is final. ultraplan apply does it anew, and leaves alone what is as wanted; "
                                  "ultraplan rollback undoes the rest of this run")


def _turn_round(run: Run) -> None:
    """From here the run goes back. What was under way is given up; whether it had its effect, its receipt tells."""
    given_up: list[AnyEvent] = []
    for key, direction, state in run.under_way():
        if direction == "forward" and state in UNDER_WAY - {OpState.STARTED, OpState.PREPARED}:
            given_up.append(Failed(op=run.op(*key), node=key[0], host=key[1], error="interrupted; the run goes back"))
    if run.conductor.going_back is None:
        run.write(*given_up, RollbackDecided(scope="run", cause=f"asked for by {user()}"))


def _run(job: Job, store: Store, lease: Lease, promises: Mapping[Key, str], watch: Watch, quiet: bool = False) -> Run:
    run = Run(id=job.name.id, graph=job.graph, store=store, lease=lease, conductor=Conductor(shape_of(job.graph)),
              fleet=job.fleet, resolver=job.resolver, scope=job.scope, promises=promises,
              telling=InOrder(() if quiet else watch.listeners), tell=watch.tell)
    job.fleet.wait = run.sleep
    job.fleet.ask = People(run, watch.ask)
    return run


def _drive(run: Run, watch: Watch) -> RunClosed:
    watch.started(run)
    try:
        closed = Driver(run).drive()
    finally:
        run.telling.flush()
    _tidy(run, closed)
    return closed


def _tidy(run: Run, closed: RunClosed) -> None:
    """Remove scratch files; after a complete rollback also receipts and pre-images. Nothing depends on it."""
    if closed.status not in ("succeeded", "rolled_back"):
        return
    for session in run.fleet.opened():
        try:
            session.clean(run.here, keep_way_back=closed.status != "rolled_back")
        except TransportError:
            continue


def _know_its_secrets(job: Job) -> None:
    graph = job.graph
    know_secrets(job.secrets, graph.document.references | graph.references | references_in(graph.inventory))


def _locks(job: Job) -> list[str]:
    return [f"host:{name}" for name in job.graph.hosts]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()
