"""The step types there are: the built-in ones, and those that other packages bring by entry point.

A third party's package declares ``[project.entry-points."ultraplan.steps"] name = "package.module:StepClass"``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ultraplan.steps.base import StepType

if TYPE_CHECKING:
    from importlib import metadata

GROUP = "ultraplan.steps"
"""The entry point group."""

_FAMILIES = {
    "files": ("file", "directory", "link", "absent"),
    "edits": ("lineinfile", "blockinfile"),
    "trees": ("copy", "fetch"),
    "archives": ("archive", "unarchive"),
    "commands": ("command", "script"),
    "services": ("service",),
    "checks": ("http", "tcp"),
    "flow": ("assert", "set_fact", "approve", "sleep"),
    "backups": ("backup", "backup_verify", "backup_prune"),
    "restoring": ("restore",),
}
"""The built-in step types by the module that has them; one that no plan names is not imported."""


class BadStepPackage(Exception):
    """An installed package's step type cannot be used; the message says which package's, and why."""


class Registry(Mapping[str, StepType[Any]]):
    """Step types by name, in a stable order. ``modules``: of types that are imported when they are asked for."""

    def __init__(self, types: Mapping[str, StepType[Any]], modules: Mapping[str, str] = MappingProxyType({})) -> None:
        self._types = dict(types)
        self._modules = modules
        self._names = tuple(sorted({*types, *modules}))
        self._known = frozenset(self._names)

    def __getitem__(self, name: str) -> StepType[Any]:
        if name not in self._types:
            family = import_module(self._modules[name])
            for kind in family.STEPS:
                self._types.setdefault(kind.name, kind())
        return self._types[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __hash__(self) -> int:
        return id(self)


@cache
def registry() -> Registry:
    """The built-in step types (each family module's ``STEPS``) and the installed ones.

    Raises `BadStepPackage` where an installed one cannot be loaded, or has a name that is taken.
    """
    modules = {name: f"ultraplan.steps.{family}" for family, names in _FAMILIES.items() for name in names}
    types: dict[str, StepType[Any]] = {}
    owners = dict.fromkeys(modules, "ultraplan")
    for point in _points() if _some_package_has_any() else ():
        package = point.dist.name if point.dist is not None else point.value
        if point.name in owners:
            raise BadStepPackage(f"two packages bring a step type {point.name!r}: {owners[point.name]} and {package}")
        types[point.name] = _load(point, package)
        owners[point.name] = package
    return Registry(types, modules)


def _some_package_has_any() -> bool:
    """Whether an installed package may declare step types: a look at the files that `importlib.metadata` reads, whose
    import takes longer than this whole module. Where packages are not in folders, it is asked."""
    for entry in sys.path:
        place = Path(entry or ".")
        if place.is_file():
            return True
        with suppress(OSError):
            for found in os.scandir(place):
                if not found.name.endswith((".dist-info", ".egg-info")):
                    continue
                with suppress(OSError):
                    if GROUP.encode() in (Path(found.path) / "entry_points.txt").read_bytes():
                        return True
    return False


def _points() -> Iterable[metadata.EntryPoint]:
    from importlib import metadata

    return metadata.entry_points(group=GROUP)


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
