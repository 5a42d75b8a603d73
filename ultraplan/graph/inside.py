"""What the templates inside inventory variables use, for the variables that a plan uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ultraplan.graph.units import Unit
from ultraplan.graph.uses import Use
from ultraplan.inventory.values import templated
from ultraplan.inventory.variables import MAGIC, World
from ultraplan.language.errors import Diagnostic, did_you_mean
from ultraplan.language.examining import check, references

_SPACES = frozenset({"inputs", "host", "facts", "steps", "run", "item", "index", "vars"})
"""The plan's own names, which a value may use too where the inventory has no variable of that name."""

_BRANCH = re.compile(r"\b(?:if|and|or)\b")

_SOME = 3  # hosts that a message names


class Inside:
    """Looks into the values of inventory variables, each once for all hosts that share it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[tuple[str, str, int, frozenset[str]], Diagnostic | None] = {}
        self._names: dict[int, frozenset[tuple[str, ...]]] = {}

    def check(self, use: Use, space: str, name: str, hosts: tuple[str, ...], number: int,
              unit: Unit) -> Diagnostic | None:
        """What is wrong inside the variable ``name`` of ``hosts`` (which have a ``number``), which ``unit`` uses as
        ``space.name``."""
        key = (space, name, number, frozenset(unit.inherited.vars))
        if key not in self._known:
            self._known[key] = self._checked(use, space, name, hosts, unit.inherited.vars if space == "vars" else {})
        return self._known[key]

    def _checked(self, use: Use, space: str, name: str, hosts: tuple[str, ...],
                 more: Mapping[str, Any]) -> Diagnostic | None:
        wrong: dict[tuple[str, str], list[str]] = {}
        for host in hosts:
            if templated(self._world.inventory.hosts[host].vars[name]):
                found = self._first(host, name, more, [])
                if found is not None:
                    wrong.setdefault(found, []).append(host)
        for (variable, message), lacking in wrong.items():
            return self._told(use, space, name, variable, message, lacking)
        return None

    def _first(self, host: str, name: str, more: Mapping[str, Any], way: list[str]) -> tuple[str, str] | None:
        """The first variable on the way from ``name`` whose template cannot be filled in on ``host``, and why."""
        variables = self._world.inventory.hosts[host].vars
        value = variables[name]
        if name in way:
            return name, f"these variables need each other: {' → '.join([*way[way.index(name):], name])}"
        for fault in check(value):
            return name, fault.message
        for path in sorted(self._used(value)):
            root = path[1] if path[0] == "vars" and len(path) > 1 and "vars" not in variables else path[0]
            if root in more:
                continue
            if root in variables:
                if templated(variables[root]) and (found := self._first(host, root, more, [*way, name])):
                    return found
            elif (why := self._unknown(path, root, host)) is not None:
                return name, why
        return None

    def _used(self, value: Any) -> frozenset[tuple[str, ...]]:
        """The names that ``value`` needs whatever the other values are; those of texts with branches are left alone."""
        if id(value) not in self._names:
            self._names[id(value)] = frozenset().union(
                *(references(text, needed=True) for text in _texts(value) if not _BRANCH.search(text)))
        return self._names[id(value)]

    def _unknown(self, path: tuple[str, ...], root: str, host: str) -> str | None:
        """Why a name that is no variable of ``host`` cannot be used in its inventory; None where it can."""
        inventory = self._world.inventory
        if path[0] == root and root in MAGIC:
            known: Mapping[str, Any] = {"groups": inventory.groups, "hostvars": inventory.hosts}.get(root, {})
            if known and len(path) > 1 and path[1] not in known and not path[1].isdigit():
                what = "group" if root == "groups" else "host"
                return f"the inventory has no {what} {path[1]!r}"
            return None
        if path[0] == root and root in _SPACES:
            return None
        hint = did_you_mean(root, [*inventory.hosts[host].vars, *MAGIC])
        if root in ("lookup", "query", "q"):
            hint = "Ansible's lookups are not read; for an environment variable write {secret: env:NAME}"
        return f"'{root}' is not defined" + (f"; {hint}" if hint else "")

    def _told(self, use: Use, space: str, name: str, variable: str, message: str, hosts: list[str]) -> Diagnostic:
        at, line = use.position(), use.origin.line(use.position())
        place = self._world.inventory.place(hosts[0], variable)
        some = ", ".join(hosts[:_SOME]) + (f" and {len(hosts) - _SOME} more" if len(hosts) > _SOME else "")
        said = f"in the inventory's {variable} for {some}: {message}"
        if place is None:
            return Diagnostic("inventory-variable", said, at, line)
        return Diagnostic("inventory-variable", said, place.at, place.line, f"{at} uses it" + (
            "" if variable == name else f" by {space}.{name}"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)
