"""What a step type is. It describes; the engine acts.

A host step is a set of pure functions from parameters and observed state to shell programs and diffs. A controller step
has the same shape over a client. `ultraplan.steps.registry` finds the built-in ones and those of other packages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ultraplan.secrets import Secrets
from ultraplan.shell import Program, Reply

P = TypeVar("P")


class WayBack(StrEnum):
    """How a step is undone. DECLARED: the plan has to say it (``undo``, ``reads_only`` or ``irreversible``)."""

    REVERSIBLE = "reversible"
    READ_ONLY = "read-only"
    DECLARED = "declared"


class StepFailed(Exception):
    """The step cannot do, or did not do, what it should; the message says what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class State:
    """What was observed. ``facts`` is JSON, says all that the step compares, and is what fingerprints are taken of.
    ``detail`` (a file's text, for diffs) is neither compared nor stored. ``lacks``: folders (absolute paths) that are
    not there and without which nothing can be changed; in a preview an earlier step may make them."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """One property before and after, and what changing it brings with it (``restarts mcp-gateway``)."""

    field: str
    before: Any
    after: Any
    note: str | None = None


@dataclass(frozen=True, slots=True)
class TextDiff:
    """A text before and after, shown as a unified diff. None: there is none."""

    path: str
    before: str | None
    after: str | None


Diff = FieldDiff | TextDiff


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is left to do. ``summary``: a few words (``create, 0640 root:root, 312 B``).

    Host steps give ``forward`` and, when REVERSIBLE, ``reverse``: programs. The forward program first secures what it
    will change under ``$UP_PRE`` and stops if it cannot; the reverse program puts it back, and does nothing where
    nothing was secured. ``after``: the facts that a probe will see then, None where that cannot be known (opaque).
    ``outputs``: the step's outputs, as far as they are known beforehand. ``touches``: paths or other resources
    (``path:/etc/x``, ``service:nginx``) that change, for finding later steps that depend on them. ``down``: services or
    hosts that are unavailable for a while.
    """

    summary: str
    diff: tuple[Diff, ...] = ()
    forward: Program | None = None
    reverse: Program | None = None
    after: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    touches: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


class StepType(ABC, Generic[P]):
    """What both kinds share. Subclasses set the class variables.

    ``Params``: a frozen dataclass; field descriptions come from ``Annotated[..., Meta(description=…)]`` (msgspec).
    For a free mapping, ``dict[str, Any]``.
    ``shorthand``: the parameter that a bare scalar stands for (``command: "date"``). ``example``: a YAML list of steps
    that ``ultraplan steps NAME`` shows and a test runs. ``outputs_doc``: output name to description.
    ``resources``: None means its effect can reach anything (opaque).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Params: ClassVar[Any]
    example: ClassVar[str] = ""
    outputs_doc: ClassVar[Mapping[str, str]] = {}
    shorthand: ClassVar[str | None] = None
    way_back: ClassVar[WayBack] = WayBack.REVERSIBLE
    opaque: ClassVar[bool] = False
    raw_params: ClassVar[frozenset[str]] = frozenset()
    """Parameters that hold expressions without braces (one, or a list). They are not rendered: the engine (after
    `shorthand`) evaluates each with `ultraplan.language.expressions.truth` and hands over
    ``[{"expr": text, "value": bool}, …]`` in their place."""
    sets_facts: ClassVar[bool] = False
    """Whether the step's outputs become ``facts`` of its host."""

    decides_by_facts: ClassVar[bool] = False
    """Whether `decide` needs only the facts of a state, no detail: then a preview can reckon with what an earlier step
    of the same plan leaves (a service that is stopped, and later started)."""
    verifies_backup: ClassVar[bool] = False
    """Whether, after it, a backup is known to be there and sound: a preview warns of a point of no return without one
    before it."""
    guards_undo: ClassVar[bool] = True
    """Whether an undo insists on finding what the run left. Not for what moves by itself (a service that died)."""

    def way_back_of(self, raw: Mapping[str, Any]) -> WayBack:
        """How a step with these (unrendered) parameters is undone; most types answer the same for all."""
        return self.way_back

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """Static mistakes that the schema cannot find, as (path below the parameters, message)."""
        return []

    def resources(self, params: P) -> tuple[str, ...]:
        """What it reads or changes: ``path:/etc/x``, ``tree:/srv/app`` (all below it, too), ``service:nginx``."""
        return ()

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        """What it can change at most, as `resources` says it, judged by those of its parameters (rendered, by name)
        whose values are known before earlier steps ran; None: anything."""
        return None


class HostStep(StepType[P]):
    """A step whose effect is a shell program on a host. It does no I/O itself."""

    @abstractmethod
    def probe(self, params: P) -> Program:
        """A read-only program whose answer `observe` understands."""

    @abstractmethod
    def observe(self, params: P, reply: Reply) -> State:
        """The state that the probe found; raises `StepFailed` where it could not look."""

    @abstractmethod
    def decide(self, params: P, state: State) -> Change | None:
        """What is left to do in ``state``; None for nothing. Raises `StepFailed` where it cannot be done."""

    def verify(self, params: P, state: State, reply: Reply) -> str | None:
        """After the effect: what is still wrong, or None. ``state`` was probed anew, ``reply`` is the effect's."""
        left = self.decide(params, state)
        return None if left is None else f"still to do after the change: {left.summary}"

    def outputs(self, params: P, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """The step's outputs; ``reply`` is None where nothing had to be done."""
        return {}

    def unattended(self, params: P) -> Program | None:
        """A program that looks and acts by itself, for a host that nobody reaches (an ``undo`` under ``confirm``); None
        where it takes `decide` to know what to do. Types that give one do so for all parameters."""
        return None


class Writer(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class Reader(Protocol):
    """Where bytes come from."""

    def read(self, count: int, /) -> bytes:
        """Up to ``count`` bytes; none at the end."""


class HostAccess(Protocol):
    """What a controller step may use of a host."""

    name: str
    address: str
    vars: Mapping[str, Any]

    def run(self, program: Program) -> Reply:
        """Run a program; it must be read-only unless it is part of `ControllerStep.act` or `undo`."""

    def download(self, path: str, to: Path) -> None:
        """Stream a file of the host into ``to`` (0600)."""

    def upload(self, source: Path, path: str) -> None:
        """Stream a file of the controller to ``path`` on the host (0600)."""

    def stream(self, program: Program, sink: Writer) -> Reply:
        """Run a program as `run` does, with its output into ``sink`` as it comes, however much; the reply has its exit
        code, and of what it said on stderr the end. Its text stands in the host's process list: no secrets."""

    def feed(self, program: Program, source: Reader) -> Reply:
        """`stream` the other way: its input comes from ``source``; what it prints is dropped. Part of `act` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a controller step works with. ``preimage``: a folder of its own, empty before `act`, for the way back.

    ``wait(seconds)`` sleeps, and raises when the run is being stopped. ``ask(question, deadline)`` gets a person's
    answer (True is yes) or raises TimeoutError. ``log(line)`` tells progress.
    """

    host: HostAccess
    secrets: Secrets
    preimage: Path
    base: Path
    wait: Callable[[float], None]
    ask: Callable[[str, float | None], bool]
    log: Callable[[str], None]
    environment: Mapping[str, str] = field(default_factory=dict)


class ControllerStep(StepType[P]):
    """A step that acts from the controller (HTTP, timers, people, transfers)."""

    idempotent: ClassVar[bool] = True
    """Whether doing it twice is the same as doing it once; where not, a crash in it is in doubt."""

    def idempotent_with(self, params: P) -> bool:
        """`idempotent` for these parameters (a GET may be sent twice, a POST may not)."""
        return self.idempotent

    def observe(self, params: P, context: Context) -> State:
        """Look, change nothing."""
        return State()

    @abstractmethod
    def decide(self, params: P, state: State) -> Change | None:
        """As `HostStep.decide`, without programs."""

    @abstractmethod
    def act(self, params: P, state: State, context: Context) -> Mapping[str, Any]:
        """Do it and give the outputs; raises `StepFailed`."""

    def undo(self, params: P, state: State, context: Context) -> None:
        """For REVERSIBLE ones: put back what `act` changed; ``state`` is from before. Raises `StepFailed`."""
        raise StepFailed(f"{self.name} has no way back of its own")
