"""From a request to a compiled graph: everything is read and checked, nothing is connected to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ultraplan.engine.beside import Beside
from ultraplan.engine.settings import Settings
from ultraplan.engine.sources import Sources
from ultraplan.engine.targets import target_of
from ultraplan.graph.compile import compile_plan
from ultraplan.graph.model import Graph
from ultraplan.inventory.load import load_inventory
from ultraplan.inventory.model import Inventory
from ultraplan.inventory.paths import seen_from
from ultraplan.inventory.patterns import PatternError, match
from ultraplan.inventory.variables import World
from ultraplan.language.document import Document
from ultraplan.language.errors import Diagnostic, SourceError
from ultraplan.language.inputs import examine_inputs
from ultraplan.steps.registry import registry
from ultraplan.transport.base import TransportError
from ultraplan.transport.target import Target

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


@dataclass(frozen=True, slots=True)
class Compiled:
    """A request's graph, the files that it was made of, how its hosts are reached, and the folder of the request."""

    graph: Graph
    sources: Sources
    targets: Mapping[str, Target]
    folder: Path


def compile_request(request: Request, settings: Settings, *, sources: Sources | None = None,
                    inventory: Inventory | None = None, mistakes: Sequence[Diagnostic] = ()) -> Compiled:
    """Load, check and compile what ``request`` names. Touches no host. Raises `SourceError` with every mistake, those
    that were found before (``mistakes``) among them."""
    sources = sources or Sources()
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
    return Compiled(graph, sources, targets, here)


def _seen_from(folder: Path, name: str) -> str:
    """``name``, which is relative to ``folder``, as this process has to call it: as it is, where that is its folder."""
    return name if folder == Path.cwd() else str(folder / name)


def inputs_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``environ`` that give inputs."""
    return {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_INPUT)}


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
