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
    "ultraplan.steps.backups",
)


class BadStepPackage(Exception):
    """An installed package's step type cannot be used; the message says which package's, and why."""


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

    Raises `BadStepPackage` where an installed one cannot be loaded, or has a name that is taken.
    """
    types: dict[str, StepType[Any]] = {}
    for family in _FAMILIES:
        for kind in import_module(family).STEPS:
            types[kind.name] = kind()
    owners = dict.fromkeys(types, "ultraplan")
    for point in metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist is not None else point.value
        if point.name in types:
            raise BadStepPackage(f"two packages bring a step type {point.name!r}: {owners[point.name]} and {package}")
        types[point.name] = _load(point, package)
        owners[point.name] = package
    return Registry(types)


def _load(point: metadata.EntryPoint, package: str) -> StepType[Any]:
    try:
        kind = point.load()()
    except Exception as error:  # another package's code may raise anything
        raise BadStepPackage(f"the step type {point.name!r} of the package {package} cannot be loaded from "
                             f"{point.value}: {type(error).__name__}: {error}") from error
    if not isinstance(kind, StepType) or kind.name != point.name:
        raise BadStepPackage(f"the package {package} gives the name {point.name!r} to {point.value}, which is no step "
                             "type of that name")
    return kind
