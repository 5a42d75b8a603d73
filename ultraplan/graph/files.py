"""The files beside a plan that its steps name: whether they are there, and which names template files use."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ultraplan.graph import early
from ultraplan.graph.units import Unit, mistake
from ultraplan.graph.uses import Use, file_uses
from ultraplan.inventory.variables import World
from ultraplan.language.document import Origin, Step
from ultraplan.language.errors import Diagnostic, SourceError
from ultraplan.language.source import PlainText


class Beside(Protocol):
    """Reads what stands beside plan files."""

    def named(self, step_type: str) -> Mapping[str, bool]:
        """The parameters of a step type that name files or folders; true for those that are templates."""

    def there(self, path: str) -> bool:
        """Whether a file or folder is there to be read."""

    def text(self, path: str) -> str:
        """The text of a file. Raises `SourceError` where it cannot be read or is not UTF-8."""


class FileUses:
    """Looks at the files that units name. ``mistakes``: what is wrong in template files, each told once."""

    def __init__(self, beside: Beside, world: World, doubts: frozenset[str]) -> None:
        self.mistakes: list[Diagnostic] = []
        self._beside = beside
        self._world = world
        self._doubts = doubts
        self._texts: dict[str, PlainText | None] = {}
        self._missing: dict[str, str | None] = {}
        self._told: set[tuple[str, tuple[str, ...]]] = set()

    def of(self, unit: Unit) -> Iterator[Use | Diagnostic]:
        """The uses in the template files that ``unit`` names; and a diagnostic for each file that is not there."""
        yield from self._of_step(unit, unit.step, "template")
        if unit.step.undo is not None:
            yield from self._of_step(unit, unit.step.undo, "undo")

    def _of_step(self, unit: Unit, step: Step, place: str) -> Iterator[Use | Diagnostic]:
        params = step.params if isinstance(step.params, Mapping) else {}
        for parameter, is_template in self._beside.named(step.type).items():
            if not isinstance(params.get(parameter), str):
                continue
            origin = step.origin.below(step.type, parameter)
            for name in self._names(unit, params[parameter], origin):
                path = os.path.normpath(os.path.join(os.path.dirname(unit.scope.document.path), name))  # noqa: PTH118, PTH120
                wrong = self._unreadable(path, is_template)
                if wrong is not None:
                    message = wrong.format(name=name)
                    yield mistake("missing-file", message, origin, hint=f"looked for {path}")
                elif is_template and (text := self._texts[path]) is not None:
                    yield from self._in_template(unit, text, place)

    def _names(self, unit: Unit, raw: str, origin: Origin) -> list[str]:
        """The names that ``raw`` means in the turns of the unit, as far as they are known now."""
        if "{{" not in raw and "{%" not in raw:
            return [raw]
        names: dict[str, None] = {}
        for turn in unit.turns:
            try:
                name: Any = early.value(raw, unit, self._world, origin, "", turn=turn, doubts=self._doubts)
            except early.NotKnown:
                continue  # when the step runs it is
            if isinstance(name, str):
                names[name] = None
        return list(names)

    def _unreadable(self, path: str, is_template: bool) -> str | None:
        """Why the file at ``path`` cannot be had, or None; a template is read."""
        if path not in self._missing:
            self._missing[path] = None if self._beside.there(path) else "there is no {name} beside the plan"
        if self._missing[path] is None and is_template and path not in self._texts:
            self._texts[path] = None
            try:
                self._texts[path] = PlainText(path, self._beside.text(path))
            except SourceError as error:
                self.mistakes += error.diagnostics
        return self._missing[path]

    def _in_template(self, unit: Unit, text: PlainText, place: str) -> Iterator[Use]:
        from ultraplan.language.checks import name_mistake
        from ultraplan.language.examining import check_file

        document, known = unit.scope.document, unit.scope
        uses = list(file_uses(text, place))
        key = (text.file, tuple(document.inputs))
        if key not in self._told:
            self._told.add(key)
            for fault in check_file(text.text):
                at = text.within((), fault.line, fault.column)
                self.mistakes.append(Diagnostic("expression", fault.message, at, text.line(at.line)))
            for use in uses:
                found = name_mistake(use.needed, document.inputs, unit.inherited.vars)
                if found is not None and not (use.path[0] == "inputs" and "inputs" in known.doubts):
                    at = use.position()
                    self.mistakes.append(Diagnostic("unknown-name", found[0], at, text.line(at.line), found[1]))
        yield from uses
