"""What a plan file says, as immutable values. Nothing here is rendered yet: scalars may hold expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ultraplan.language.errors import Diagnostic, Position
from ultraplan.language.source import SourceMap
from ultraplan.language.values import Duration
from ultraplan.shell import Account


class OnFailure(StrEnum):
    """What a failed step means for the run."""

    ROLLBACK = "rollback"
    STOP = "stop"
    CONTINUE = "continue"


class Strategy(StrEnum):
    """LINEAR: a barrier between two steps over several hosts. FREE: each host runs ahead."""

    LINEAR = "linear"
    FREE = "free"


class Scope(StrEnum):
    """How far an automatic rollback reaches."""

    RUN = "run"
    BATCH = "batch"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value of a document stands: a file's source map and the path of keys and indexes to it."""

    source: SourceMap
    path: tuple[str | int, ...]

    def at(self, *path: str | int, key: bool = False) -> Position:
        """The position of the value (or, with ``key``, of its key) at ``path`` below this one."""
        return self.source.at((*self.path, *path), key=key)

    def line(self, position: Position) -> str:
        """The source line of ``position``, without its end."""
        return self.source.line(position.line)

    def below(self, *path: str | int) -> Origin:
        """The origin of what stands at ``path`` below this one."""
        return Origin(self.source, (*self.path, *path))


@dataclass(frozen=True, slots=True)
class Input:
    """A typed input of a plan. ``type``: string, integer, number, boolean, duration, size, list or map."""

    name: str
    type: str
    origin: Origin
    description: str = ""
    required: bool = True
    default: Any = None
    choices: tuple[Any, ...] | None = None
    pattern: str | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as written. ``type`` is the step type's key (``file``), ``block`` or ``include``.

    ``params``: what stands under that key. ``needs``: None where the text has none (it then waits for the step above).
    ``when``: expressions without braces, all of which must hold. ``loop``: the raw list or expression, or None.
    ``children``: for a block, its steps by role (``block``, ``rescue``, ``always``). ``become``: None
    where the text has none (that of the block, the include or the plan around it holds then). ``on_failure``: its own,
    else that of the block or plan file around it.
    """

    id: str
    type: str
    params: Any
    origin: Origin
    name: str | None = None
    needs: tuple[str, ...] | None = None
    when: tuple[str, ...] = ()
    loop: Any = None
    retries: int = 0
    delay: Duration = field(default_factory=lambda: Duration(5))
    until: str | None = None
    timeout: Duration | None = None
    tags: tuple[str, ...] = ()
    become: Account | bool | None = None
    run_once: bool = False
    environment: Mapping[str, Any] = field(default_factory=dict)
    no_log: bool = False
    vars: Mapping[str, Any] = field(default_factory=dict)
    undo: Step | None = None
    reads_only: bool = False
    irreversible: str | None = None
    on_failure: OnFailure = OnFailure.ROLLBACK
    confirm: Duration | None = None
    children: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    def walk(self) -> Iterator[Step]:
        """This step and every step inside it, in text order."""
        yield self
        for steps in self.children.values():
            for step in steps:
                yield from step.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A plan file. ``serial``: batch sizes as written (numbers or percents). ``objectives``: rto and rpo.

    ``references``: every secret reference that stands in the file (``env:NAME``). ``mistakes``: what is wrong with the
    file; a document that has some holds what could be read beside them, is good for finding more, and compiles to
    nothing. ``doubts``: the names, dotted, whose meaning its mistakes leave open (see `ultraplan.language.salvage`).
    """

    name: str
    path: str
    origin: Origin
    steps: tuple[Step, ...]
    description: str = ""
    objectives: Mapping[str, Duration] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)
    hosts: str = "all"
    serial: tuple[int | str, ...] = ()
    strategy: Strategy = Strategy.LINEAR
    max_fail_percentage: float = 0.0
    max_unreachable_percentage: float = 0.0
    rollback_scope: Scope = Scope.RUN
    on_failure: OnFailure = OnFailure.ROLLBACK
    become: Account | bool | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    references: frozenset[str] = frozenset()
    mistakes: tuple[Diagnostic, ...] = ()
    doubts: frozenset[str] = frozenset()

    def walk(self) -> Iterator[Step]:
        """Every step of the plan, blocks' included, in text order."""
        for step in self.steps:
            yield from step.walk()
