"""The step types there are: the built-in ones, and those that other packages bring by entry point.

A third party's package declares ``[project.entry-points."ultraplan.steps"] name = "package.module:StepClass"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module, metadata
from typing import Any

from ultraplan.steps.base import StepType

GROUP = "ultraplan.steps"
"""The entry point group."""

_FAMILIES = (
    "ultraplan.steps.files", "ultraplan.steps.edits", "ultraplan.steps.trees", "ultraplan.steps.archives",
    "ultraplan.steps.commands", "ultraplan.steps.services", "ultraplan.steps.checks", "ultraplan.steps.flow",
)


class Registry(Mapping[str, StepType[Any]]):
    """Step types by name, in a stable order."""

    def __init__(self, types: Mapping[str, StepType[Any]]) -> None:
        self._types = dict(sorted(types.items()))

    def __getitem__(self, name: str) -> StepType[Any]:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __hash__(self) -> int:
        return id(self)


@cache
def registry() -> Registry:
    """The built-in step types (each family module's ``STEPS``) and the installed ones.

    Raises ValueError where an installed package's step has the name of a built-in one.
    """
    types: dict[str, StepType[Any]] = {}
    for family in _FAMILIES:
        for kind in import_module(family).STEPS:
            types[kind.name] = kind()
    for point in metadata.entry_points(group=GROUP):
        if point.name in types:
            raise ValueError(f"the step type {point.name!r} of {point.value} exists already")
        types[point.name] = point.load()()
    return Registry(types)
