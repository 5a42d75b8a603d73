"""What each unit waits for: ``needs``, the step above, and the steps whose results its texts use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ultraplan.graph.check import Names
from ultraplan.graph.files import FileUses
from ultraplan.graph.units import Container, PlanScope, Unit, Vertices, mistake
from ultraplan.graph.uses import Bare, Use, step_uses, text_uses
from ultraplan.language.errors import Diagnostic, did_you_mean


def link(
    units: Iterable[Unit], scopes: Iterable[PlanScope], vertices: Vertices, names: Names, bare: Bare,
    files: FileUses | None = None,
) -> Iterator[Diagnostic]:
    """Adds the edges of all units, fills in their ``uses``, those in template files (``files``) among them; what it
    finds wrong comes out."""
    for scope in scopes:
        for use in text_uses(scope.document.environment, scope.document.origin.below("environment"), "environment"):
            yield from names.plan_wide(use, scope)
    containers: dict[int, Container] = {}
    units = list(units)
    for unit in units:
        containers[id(unit.container)] = unit.container
        targets, wrong = _needed(unit)
        yield from wrong
        seen: set[tuple[int, str]] = set()
        uses = [*step_uses(unit.step, bare, unit.inherited.guards), *_declared(unit)]
        for found in files.of(unit) if files is not None else ():
            if isinstance(found, Use):
                uses.append(found)
            else:
                yield found
        for use in uses:
            for one in _with_vars(use, unit, seen):
                unit.uses.append(one)
                if (wrong_name := names.check(one, unit)) is not None:
                    yield wrong_name
                else:
                    targets += names.before(one, unit)
        _connect(unit, targets, vertices)
    for container in containers.values():
        for unit in container.children:
            if unit.end not in container.followed:
                vertices.wait(container.end, unit.end)


def _needed(unit: Unit) -> tuple[list[Unit], list[Diagnostic]]:
    """The units it waits for by its ``needs`` or its place."""
    if unit.step.needs is None:
        return ([unit.above] if unit.above is not None else []), []
    targets, wrong = [], []
    for index, name in enumerate(unit.step.needs):
        target = unit.scope.units.get(name)
        if target is not None:
            targets.append(target)
            continue
        known = unit.scope.units
        if "steps" in unit.scope.doubts:
            continue
        wrong.append(mistake(
            "unknown-step", f"there is no step {name!r} to wait for", unit.step.origin, "needs", index,
            hint=did_you_mean(name, known) or "`needs` names ids of steps of the same plan file"))
    return targets, wrong


def _declared(unit: Unit) -> Iterator[Use]:
    """The uses in what a step that is taken apart at compile time hands on."""
    if unit.step.loop is not None:
        bare = isinstance(unit.step.loop, str) and "{{" not in unit.step.loop
        yield from text_uses(unit.step.loop, unit.step.origin.below("loop"), "loop", bare=bare)
    if unit.step.type == "include":
        yield from text_uses(unit.step.vars, unit.step.origin.below("vars"), "vars")


def _with_vars(use: Use, unit: Unit, seen: set[tuple[int, str]]) -> Iterator[Use]:
    """``use``, and what the plan's variables that it uses are made of."""
    yield use
    if use.path[0] != "vars" or len(use.path) == 1:
        return
    name = use.path[1]
    known: Mapping[str, Any] = unit.inherited.vars
    if name in known and (0, name) not in seen:
        seen.add((0, name))
        origin = unit.inherited.var_origins.get(name, use.origin)
        for inner in text_uses(known[name], origin, use.place, guards=unit.inherited.guards):
            yield from _with_vars(inner, unit, seen)


def _connect(unit: Unit, targets: Iterable[Unit], vertices: Vertices) -> None:
    own = unit.container
    around = {id(container) for container in own.around()}
    inside = False
    for target in targets:
        vertices.wait(unit.begin, target.end)
        if id(target.container) in around and target is not unit:
            target.container.followed.add(target.end)
        inside = inside or any(container is own for container in target.container.around())
    if not inside:
        vertices.wait(unit.begin, own.begin)
