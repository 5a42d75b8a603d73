"""Variables of a plan that need each other in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ultraplan.graph.units import Unit
from ultraplan.graph.uses import Use, text_uses
from ultraplan.language.document import Origin
from ultraplan.language.errors import Diagnostic


def rings(units: Iterable[Unit]) -> Iterator[Diagnostic]:
    """One diagnostic for each circle among the variables that the units see, used or not."""
    told: set[frozenset[str]] = set()
    looked: set[int] = set()
    for unit in units:
        variables, origins = unit.inherited.vars, unit.inherited.var_origins
        if id(variables) in looked:
            continue
        looked.add(id(variables))
        # What stands around a step has been looked at with it; new circles go through what the step itself brings.
        new = unit.step.vars if unit.step.vars and unit.above is not None else variables
        for ring in _found(new, variables, origins):
            names = frozenset(use.path[1] for use in ring)
            where = ring[-1].position()
            if names in told:
                continue
            told.add(names)
            path = " → ".join([ring[-1].path[1], *(use.path[1] for use in ring)])
            yield Diagnostic("cycle", f"these variables need each other: {path}", where, ring[-1].origin.line(where),
                             "a variable cannot be made of itself; give one of them another name")


def _found(start: Iterable[str], variables: Mapping[str, Any], origins: Mapping[str, Origin]) -> Iterator[list[Use]]:
    """The circles that are met from ``start``, each as the uses that lead around it."""
    done: set[str] = set()
    for first in start:
        way: list[Use] = []
        todo: list[Iterator[Use]] = [_uses(first, variables, origins)]
        names = [first]
        while todo:
            use = next(todo[-1], None)
            if use is None:
                todo.pop()
                done.add(names.pop())
                if way:
                    way.pop()
            elif use.path[1] in names:
                at = names.index(use.path[1])
                yield [*way[at:], use]
            elif use.path[1] not in done:
                names.append(use.path[1])
                way.append(use)
                todo.append(_uses(use.path[1], variables, origins))


def _uses(name: str, variables: Mapping[str, Any], origins: Mapping[str, Origin]) -> Iterator[Use]:
    """The variables that ``name`` is made of."""
    if name in variables and name in origins:
        for use in text_uses(variables[name], origins[name], "vars"):
            if use.path[0] == "vars" and len(use.path) > 1:
                yield use
