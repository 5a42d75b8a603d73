"""Everything that one plan needs, put together: from a request (or a run's bundle) to a graph and a fleet."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ultraplan import vault
from ultraplan.engine.compiled import Request, compile_request, inputs_in
from ultraplan.engine.fleet import Fleet
from ultraplan.engine.resolve import Resolver
from ultraplan.engine.scope import Scope
from ultraplan.engine.settings import Settings
from ultraplan.engine.sources import Sources
from ultraplan.graph.model import Graph
from ultraplan.inventory.model import Inventory
from ultraplan.inventory.references import references_in
from ultraplan.language.errors import Diagnostic
from ultraplan.secrets import SecretError, Secrets, files_in, references
from ultraplan.steps.registry import registry
from ultraplan.transport.target import connector

__all__ = ["Job", "Request", "RunName", "compile_job", "inputs_in", "know_secrets", "user"]


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
        return cls(id=f"{time.strftime('%Y%m%d-%H%M%S', now)}-{os.urandom(2).hex()}",
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
    name = name or RunName.new()
    compiled = compile_request(request, settings, sources=sources, inventory=inventory, mistakes=mistakes)
    graph, here, targets, sources = compiled.graph, compiled.folder, compiled.targets, compiled.sources
    document, inventory, inputs = graph.document, graph.inventory, graph.inputs
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


def know_secrets(secrets: Secrets, wanted: frozenset[str]) -> None:
    """Read what can be read of ``wanted``, so that its values are redacted wherever they turn up. A secret that cannot
    be read is told about when a step needs it."""
    for reference in wanted:
        try:
            secrets.value(reference)
        except SecretError:
            continue


def _in_inputs(inputs: Mapping[str, Any]) -> frozenset[str]:
    return frozenset().union(*(references(value) for value in inputs.values() if isinstance(value, str)))
