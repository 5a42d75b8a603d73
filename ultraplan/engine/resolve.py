"""From a node on a host to something that can run: conditions, typed parameters, account, environment, way back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraplan.engine.sources import SourceMissing, Sources
from ultraplan.graph.model import Node
from ultraplan.inventory.model import Host
from ultraplan.language.document import Step
from ultraplan.language.expressions import ExpressionError, UnknownValue, render, render_text, truth
from ultraplan.shell import Account
from ultraplan.steps.base import ControllerStep, HostStep, StepFailed, StepType, WayBack
from ultraplan.steps.params import BadParams, SourceFile, TemplateFile, build
from ultraplan.transport.target import Target

DEFAULT_TIMEOUT = 3600.0
"""Seconds that an effect may take where the plan does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A step with everything filled in. ``stored``: its parameters as JSON, for the journal (markers for secrets)."""

    step: Step
    type: StepType[Any]
    params: Any
    stored: Any
    account: Account | None
    environment: Mapping[str, str]
    way_back: WayBack | str
    base: Path

    @property
    def timeout(self) -> float:
        """Seconds that its effect may take."""
        return float(self.step.timeout) if self.step.timeout is not None else DEFAULT_TIMEOUT

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing by its nature or by the plan's word."""
        return self.way_back == WayBack.READ_ONLY

    @property
    def on_host(self) -> HostStep[Any] | None:
        """Its type, where it acts on a host by a program."""
        return self.type if isinstance(self.type, HostStep) else None

    @property
    def on_controller(self) -> ControllerStep[Any] | None:
        """Its type, where it acts from the controller."""
        return self.type if isinstance(self.type, ControllerStep) else None


class Unfit(StepFailed):
    """The step's parameters cannot be right, whatever the host is like."""


class Resolver:
    """Resolves steps with one registry, one set of source files, and the hosts' targets (for become)."""

    def __init__(self, registry: Mapping[str, StepType[Any]], sources: Sources, targets: Mapping[str, Target]) -> None:
        self._registry = registry
        self._sources = sources
        self._targets = targets

    def account(self, step: Step, host: str) -> Account | None:
        """The account that ``step`` runs as on ``host``; None for the one that logs in."""
        return self._targets[host].account(step.become)

    def not_wanted(self, node: Node, names_of: Callable[[Node], Mapping[str, Any]]) -> str | None:
        """The condition that does not hold, or None. An include's condition, seen with the names of the plan that it
        stands in, holds for every step inside. Raises `StepFailed`, `UnknownValue`."""
        if node.outer is not None and (why := self.not_wanted(node.outer, names_of)) is not None:
            return why
        if not node.when:
            return None
        names = names_of(node)
        for condition in node.when:
            try:
                if not truth(condition, names):
                    return f"when: {condition}"
            except ExpressionError as error:
                raise StepFailed(f"when: {condition}: {error}") from None
        return None

    def resolve(self, node: Node, host: Host, names: Mapping[str, Any], step: Step | None = None) -> Resolved:
        """``node`` (or its ``undo``, as ``step``) on ``host``; raises `StepFailed`, `UnknownValue`."""
        what = step or node.step
        kind = self._registry[what.type]
        base = Path(node.document.path).parent
        files = _Files(self._sources, base, names)
        try:
            rendered = self._rendered(kind, what.params, names)
            params = build(kind, rendered, files)
            environment = {name: _text(value) for name, value in
                           render({**node.environment, **what.environment}, names).items()}
        except ExpressionError as error:
            raise StepFailed(f"{_place(what)}{error}") from None
        except BadParams as error:
            raise Unfit(f"{_place(what, *error.path)}{what.type}: {error}") from None
        stored = _storable(rendered, files)
        if "\\u0000" in json.dumps([stored, environment]):
            raise Unfit(f"{_place(what)}{what.type}: a NUL character cannot reach a host")
        return Resolved(step=what, type=kind, params=params, stored=stored, base=base,
                        account=self.account(what, host.name), environment=environment,
                        way_back=self._way_back(kind, what))

    def reach(self, node: Node, names: Mapping[str, Any]) -> tuple[str, ...] | None:
        """What ``node`` can change at most, as far as its parameters are known; None: anything."""
        step = node.step
        kind = self._registry[step.type]
        if self._way_back(kind, step) == WayBack.READ_ONLY:
            return ()
        raw = step.params
        if not isinstance(raw, Mapping):
            raw = {} if kind.shorthand is None else {kind.shorthand: raw}
        known: dict[str, Any] = {}
        for name, value in raw.items():
            try:
                known[name] = render(value, names)
            except (UnknownValue, ExpressionError):
                continue
        return kind.reach(known)

    def again(self, node: Node, host: Host, step: Step, stored: Any, environment: Mapping[str, str]) -> Resolved:
        """What `resolve` gave, from the parameters that the journal kept; raises `StepFailed`."""
        kind = self._registry[step.type]
        base = Path(node.document.path).parent
        try:
            params = build(kind, stored["params"], _Kept(stored["files"]))
        except BadParams as error:
            raise StepFailed(f"{_place(step)}{step.type}: {error}") from None
        return Resolved(step=step, type=kind, params=params, stored=stored, base=base,
                        account=self.account(step, host.name), environment=environment,
                        way_back=self._way_back(kind, step))

    def _rendered(self, kind: StepType[Any], raw: Any, names: Mapping[str, Any]) -> Any:
        if not isinstance(raw, Mapping) and kind.shorthand is not None:
            raw = {kind.shorthand: raw}
        if not kind.raw_params or not isinstance(raw, Mapping):
            return render(raw, names)
        done: dict[str, Any] = {}
        for name, value in raw.items():
            if name in kind.raw_params:
                expressions = value if isinstance(value, list) else [value]
                done[name] = [{"expr": str(one), "value": truth(str(one), names)} for one in expressions]
            else:
                done[name] = render(value, names)
        return done

    def way_back(self, step: Step) -> WayBack | str:
        """How ``step`` is undone, as far as the plan's text says it."""
        return self._way_back(self._registry[step.type], step)

    @staticmethod
    def _way_back(kind: StepType[Any], step: Step) -> WayBack | str:
        if step.irreversible is not None:
            return "irreversible"
        if step.reads_only:
            return WayBack.READ_ONLY
        raw = step.params if isinstance(step.params, Mapping) else {}
        return WayBack.DECLARED if step.undo is not None else kind.way_back_of(raw)


class _Files:
    """Makes source and template files of their names, and remembers what the journal has to keep of them."""

    def __init__(self, sources: Sources, base: Path, names: Mapping[str, Any]) -> None:
        self._sources, self._base, self._names = sources, base, names
        self.made: dict[str, dict[str, str]] = {}

    def __call__(self, kind: type, name: str) -> Any:
        path = self._base / name
        if kind is TemplateFile:
            try:
                text = self._sources.read(path).decode("utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"template {name} is not UTF-8 text") from None
            except SourceMissing as error:
                raise ValueError(f"template {error}") from None
            made = TemplateFile(name, render_text(text, self._names, name))
            self.made[name] = {"text": made.text}
            return made
        try:
            self._sources.note_tree(path)
        except SourceMissing as error:
            raise ValueError(f"source {error}") from None
        self.made[name] = {"path": str(path)}
        return SourceFile(name, path)


class _Kept:
    """Gives back the files as they were when the journal was written."""

    def __init__(self, kept: Mapping[str, Mapping[str, str]]) -> None:
        self._kept = kept

    def __call__(self, kind: type, name: str) -> Any:
        found = self._kept[name]
        return TemplateFile(name, found["text"]) if kind is TemplateFile else SourceFile(name, Path(found["path"]))


def _storable(rendered: Any, files: _Files) -> dict[str, Any]:
    return {"params": _plain(rendered), "files": files.made}


def _plain(value: Any) -> Any:
    """``value`` with the language's own scalars as the text that writes them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if type(value) not in (str, int, float, bool, type(None)) else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _place(step: Step, *path: str | int) -> str:
    try:
        return f"{step.origin.at(step.type, *path)}: "
    except (KeyError, IndexError):
        return ""


def undo_step(step: Step, undo: Step) -> Step:
    """The declared ``undo`` of ``step``, running as the step itself does where it does not say otherwise."""
    return dataclasses.replace(undo, become=step.become if undo.become is None else undo.become,
                               environment={**step.environment, **undo.environment},
                               vars={**step.vars, **undo.vars})


def missing(folder: str) -> str:
    """What is said where something is to be put into a folder that is not there (`State.lacks`)."""
    return f"the folder {folder} does not exist; add a `directory` step before this one"


def mistake(kind: str, error: Exception) -> str:
    """What is said of an error that a step type should not have let out."""
    return f"a mistake in the step type {kind}: {type(error).__name__}: {error}"
