"""Everything that one plan needs, put together: from a request (or a run's bundle) to a graph and a fleet."""

from __future__ import annotations

import getpass
import os
import secrets as randomness
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ultraplan import vault
from ultraplan.engine.beside import Beside
from ultraplan.engine.fleet import Fleet
from ultraplan.engine.resolve import Resolver
from ultraplan.engine.scope import Scope
from ultraplan.engine.settings import Settings
from ultraplan.engine.sources import Sources
from ultraplan.engine.targets import target_of
from ultraplan.graph.compile import compile_plan
from ultraplan.graph.model import Graph
from ultraplan.inventory.load import load_inventory
from ultraplan.inventory.model import Inventory
from ultraplan.inventory.paths import seen_from
from ultraplan.inventory.patterns import PatternError, match
from ultraplan.inventory.references import references_in
from ultraplan.inventory.variables import World
from ultraplan.language.document import Document
from ultraplan.language.errors import Diagnostic, SourceError
from ultraplan.language.inputs import examine_inputs
from ultraplan.secrets import SecretError, Secrets, files_in, references
from ultraplan.steps.registry import registry
from ultraplan.transport.base import TransportError
from ultraplan.transport.target import Target, connector

T = TypeVar("T")

ENVIRONMENT_INPUT = "ULTRAPLAN_INPUT_"
"""Prefix of environment variables that give inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked for. ``given``: inputs by name, secrets as references. ``environment``: the variables that
    give inputs too. ``folder``: the absolute folder that it was asked in, below which its relative names are, also
    for who goes on from another folder; empty for this process's."""

    plan: str
    inventory: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    limit: str | None = None
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunName:
    """What ``run`` is in expressions: fixed when the plan is made, so that a preview can use it."""

    id: str
    started: str
    user: str

    @classmethod
    def new(cls) -> RunName:
        """A fresh one: ``20261122-014455-7f3a``, UTC, with the person's name."""
        now = time.gmtime()
        return cls(id=f"{time.strftime('%Y%m%d-%H%M%S', now)}-{randomness.token_hex(2)}",
                   started=time.strftime("%Y-%m-%dT%H:%M:%SZ", now), user=user())


@dataclass(kw_only=True)
class Job:
    """A compiled plan with what it takes to look at its hosts and to run it."""

    request: Request
    settings: Settings
    name: RunName
    graph: Graph
    sources: Sources
    secrets: Secrets
    fleet: Fleet
    resolver: Resolver
    scope: Scope

    def close(self) -> None:
        """Close the connections."""
        self.fleet.close()


def user() -> str:
    """Who runs this, for the journal."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def compile_job(request: Request, settings: Settings, *, name: RunName | None = None, sources: Sources | None = None,
                inventory: Inventory | None = None, mistakes: Sequence[Diagnostic] = ()) -> Job:
    """Load, check and compile what ``request`` names. Touches no host. Raises `SourceError` with every mistake, those
    that were found before (``mistakes``) among them."""
    sources = sources or Sources()
    name = name or RunName.new()
    beside = Beside(sources, registry())
    here = Path(request.folder or Path.cwd())
    found = list(mistakes)
    document = _tried(lambda: beside.plan(_seen_from(here, request.plan)), found)
    if inventory is None:
        places = [one if here == Path.cwd() else seen_from(here, one) for one in request.inventory]
        inventory = _tried(lambda: load_inventory(places or settings.inventory), found)
    if document is None:
        raise SourceError(found)
    inputs, wrong = examine_inputs(document, request.given, request.environment)
    targets, unusable = _targets(document, inventory, request.limit) if inventory is not None else ({}, [])
    graph = compile_plan(document, inventory, inputs, step_types=registry(), load=beside.plan, limit=request.limit,
                         tags=request.tags, skip_tags=request.skip_tags, beside=beside,
                         mistakes=[*found, *wrong, *unusable])
    inventory = graph.inventory
    declared = document.references | graph.references | references_in(inventory) | _in_inputs(inputs)
    secrets = Secrets(declared, {"vault": vault.resolver(here, os.environ), "file": files_in(here)})
    connections = partial(connector, targets, reveal=secrets.reveal, ssh_config=settings.ssh_config,
                          known_hosts=settings.known_hosts, strict=settings.strict_host_keys)
    fleet = Fleet(inventory, targets, connections, secrets, registry(), settings.state / "runs" / name.id,
                  settings.reconnect)
    scope = Scope(graph, {"id": name.id, "started": name.started, "plan": document.name, "user": name.user,
                          "check": False},
                  lambda host: fleet.session(host).facts())
    return Job(request=request, settings=settings, name=name, graph=graph, sources=sources, secrets=secrets,
               fleet=fleet, resolver=Resolver(registry(), sources, targets), scope=scope)


def _seen_from(folder: Path, name: str) -> str:
    """``name``, which is relative to ``folder``, as this process has to call it: as it is, where that is its folder."""
    return name if folder == Path.cwd() else str(folder / name)


def inputs_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``environ`` that give inputs."""
    return {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_INPUT)}


def know_secrets(secrets: Secrets, wanted: frozenset[str]) -> None:
    """Read what can be read of ``wanted``, so that its values are redacted wherever they turn up. A secret that cannot
    be read is told about when a step needs it."""
    for reference in wanted:
        try:
            secrets.value(reference)
        except SecretError:
            continue


def _tried(read: Callable[[], T], found: list[Diagnostic]) -> T | None:
    """What ``read`` gives, or None and its mistakes added to ``found``."""
    try:
        return read()
    except SourceError as error:
        found.extend(error.diagnostics)
        return None


def _targets(document: Document, inventory: Inventory, limit: str | None) -> tuple[dict[str, Target], list[Diagnostic]]:
    """The targets of the plan's hosts, and what is wrong with connection variables, once for all hosts that share it.

    What is wrong with the pattern of hosts is told where the plan is compiled."""
    with suppress(PatternError):
        targets: dict[str, Target] = {}
        world = World(inventory)
        refused: dict[tuple[str, str | None], list[str]] = {}
        for host in match(inventory, document.hosts, limit):
            try:
                targets[host] = target_of(world[host])
            except TransportError as error:
                refused.setdefault((str(error), error.hint), []).append(host)
        return targets, [Diagnostic("connection", f"{some(hosts)}: {message}", hint=hint)
                         for (message, hint), hosts in refused.items()]
    return {}, []


def some(hosts: Sequence[str], most: int = 3) -> str:
    """The names of ``hosts``, only the first where they are many."""
    return ", ".join(hosts[:most]) + (f" and {len(hosts) - most} more" if len(hosts) > most else "")


def _in_inputs(inputs: Mapping[str, Any]) -> frozenset[str]:
    return frozenset().union(*(references(value) for value in inputs.values() if isinstance(value, str)))
