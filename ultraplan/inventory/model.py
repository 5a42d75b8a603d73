"""The inventory as an immutable value: hosts, groups, and the variables each host ends up with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ultraplan.language.errors import Position


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its name in the inventory, the groups it is in (parents included, ``all`` first), its merged variables.

    ``implicit``: it is the machine itself, which no source names: in no group's members, met only by its name.
    ``source``: the path of the file that first names it, absolute; empty where none does.
    """

    name: str
    groups: tuple[str, ...] = ("all", "ungrouped")
    vars: Mapping[str, Any] = field(default_factory=dict)
    implicit: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variable's value stands: ``value`` itself, its position, and the line."""

    value: Any
    at: Position
    line: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group: its own children and hosts in inventory order, and its own variables (before merging)."""

    name: str
    children: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Hosts and groups by name, in inventory order. ``sources``: the files it was read from. ``places``: where
    variables stand whose values are templates, by owner (a host or group) and name."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict)

    def place(self, host: str, name: str) -> Place | None:
        """Where the template stands that the variable ``name`` of ``host`` is; None where that is not known."""
        value = self.hosts[host].vars.get(name)
        for owner in (host, *reversed(self.hosts[host].groups)):
            place = self.places.get((owner, name))
            if place is not None and place.value is value:
                return place
        return None

    def members(self, group: str) -> tuple[str, ...]:
        """The hosts of ``group`` and of its descendants, in Ansible's order; KeyError for an unknown group."""
        seen: dict[str, None] = {}
        for name in self._descend(group):
            seen.update(dict.fromkeys(self.groups[name].hosts))
        return tuple(seen)

    def _descend(self, group: str) -> Iterator[str]:
        done: set[str] = set()
        todo = [group]
        while todo:
            name = todo.pop(0)
            if name not in done:
                done.add(name)
                yield name
                todo.extend(self.groups[name].children)
