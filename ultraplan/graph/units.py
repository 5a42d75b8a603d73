"""The steps of a plan while it is compiled: units inside containers, over vertices of which only some become nodes.

A container (a plan, a part of a block, a loop, an include) has a vertex where it begins and one where it ends, so that
what waits for a block waits for one vertex. Vertices that are no nodes are bridged in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ultraplan.graph.model import BlockRole, Node
from ultraplan.graph.uses import Path, Use
from ultraplan.language.document import Document, OnFailure, Origin, Step
from ultraplan.language.errors import Diagnostic
from ultraplan.shell import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a step has from what stands around it."""

    hosts: tuple[str, ...]
    become: Account | bool | None
    on_failure: OnFailure
    environment: Mapping[str, Any]
    vars: Mapping[str, Any]
    var_origins: Mapping[str, Origin]
    when: tuple[str, ...] = ()
    guards: frozenset[Path] = frozenset()
    tags: frozenset[str] = frozenset()
    blocks: tuple[BlockRole, ...] = ()
    no_log: bool = False
    run_once: bool = False


@dataclass(eq=False, slots=True)
class PlanScope:
    """One use of a plan file: the plan itself, or a turn of an include of it. ``doubts``: the file's, and those of what
    is handed to it."""

    document: Document
    prefix: str
    inputs: Mapping[str, Any]
    outer: Node | None
    owner: Unit | None
    doubts: frozenset[str] = frozenset()
    units: dict[str, Unit] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Container:
    """Where steps stand in order. ``followed``: those that another one in here waits for."""

    begin: int
    end: int
    parent: Container | None
    unit: Unit | None
    children: list[Unit] = field(default_factory=list)
    followed: set[int] = field(default_factory=set)

    def around(self) -> Iterator[Container]:
        """This container and those around it, innermost first."""
        here: Container | None = self
        while here is not None:
            yield here
            here = here.parent


@dataclass(eq=False, slots=True)
class Unit:
    """A step as written, in one use of its plan file. ``index``: its place in the text. ``uses``: of its own texts, and
    of the variables that they use. ``nodes``: what it stands for in the end. ``turns``: of its loop, item and index
    (None where it has none)."""

    id: str
    step: Step
    scope: PlanScope
    container: Container
    index: int
    inherited: Inherited
    above: Unit | None
    begin: int = -1
    end: int = -1
    uses: list[Use] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    loops: bool = False
    turns: Sequence[tuple[Any, int] | None] = (None,)

    @property
    def place(self) -> str:
        """``id (file:line)``."""
        at = self.step.origin.at()
        return f"{self.id} ({at.file}:{at.line})"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it runs."""
        return self.inherited.hosts[:1] if self.inherited.run_once else self.inherited.hosts

    def blocks(self) -> Iterator[Unit]:
        """The blocks around it in its own plan file, innermost first."""
        for container in self.container.around():
            if container.unit is not None and container.unit.scope is self.scope:
                yield container.unit


class Vertices:
    """The vertices and what each waits for."""

    def __init__(self) -> None:
        self.units: list[Unit | None] = []
        self.waits: list[dict[int, None]] = []
        self.nodes: dict[int, Node] = {}

    def add(self, unit: Unit | None) -> int:
        """A new vertex."""
        self.units.append(unit)
        self.waits.append({})
        return len(self.units) - 1

    def waits_for(self, vertex: int, other: int) -> bool:
        """Whether ``vertex`` waits for ``other``, directly or not."""
        seen, todo = {vertex}, [vertex]
        while todo:
            for before in self.waits[todo.pop()]:
                if before == other:
                    return True
                if before not in seen:
                    seen.add(before)
                    todo.append(before)
        return False

    def wait(self, vertex: int, before: int) -> None:
        """``vertex`` waits for ``before``."""
        self.waits[vertex][before] = None


def mistake(
    code: str, message: str, origin: Origin, *path: str | int, hint: str | None = None, key: bool = False,
) -> Diagnostic:
    """A diagnostic about what stands at ``path`` below ``origin``."""
    at = origin.at(*path, key=key)
    return Diagnostic(code, message, at, origin.line(at), hint)
