"""An inventory while it is being read: sources add groups, hosts and variables in the order in which they name them.

The rules are Ansible's (its inventory manager): ``all`` and ``ungrouped`` are always there, a name that is both a
group's and a host's gets its variables as a group, a host keeps the port of the entry that named it first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ultraplan.inventory.model import Group, Host, Inventory, Place
from ultraplan.inventory.names import LOCALHOST
from ultraplan.inventory.values import templated
from ultraplan.inventory.varfiles import VarFiles
from ultraplan.language.errors import Position


class CycleError(ValueError):
    """A group would be its own descendant. ``path``: the groups, from the one around to itself."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path
        super().__init__(f"the group '{path[0]}' would contain itself: {' > '.join(path)}")


class _Group:
    __slots__ = ("children", "hosts", "name", "parents", "priority", "vars")

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: dict[str, None] = {}
        self.parents: dict[str, None] = {}
        self.hosts: dict[str, None] = {}
        self.vars: dict[str, Any] = {}
        self.priority = 1


class _Host:
    __slots__ = ("groups", "source", "vars")

    def __init__(self, source: str) -> None:
        self.source = source
        self.groups: dict[str, None] = {}
        self.vars: dict[str, Any] = {}


class Builder:
    """Collects an inventory; `build` gives it. ``source``: the file that is being read; empty where it is none.
    ``named``: how often a source has named a host."""

    def __init__(self) -> None:
        self.source = ""
        self.named = 0
        self.places: dict[tuple[str, str], Place] = {}
        self._groups: dict[str, _Group] = {}
        self._hosts: dict[str, _Host] = {}
        self.add_group("all")
        self.add_group("ungrouped")
        self.add_child("all", "ungrouped")

    @property
    def groups(self) -> Iterable[str]:
        """The names of the groups so far."""
        return self._groups.keys()

    @property
    def hosts(self) -> Iterable[str]:
        """The names of the hosts so far."""
        return self._hosts.keys()

    def add_group(self, name: str) -> None:
        """Have a group of that name."""
        if name not in self._groups:
            self._groups[name] = _Group(name)

    def add_host(self, name: str, group: str | None = None, port: int | None = None) -> None:
        """Have a host of that name, in ``group``; the port counts only for a host that is new."""
        self.named += 1
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(self.source)
            if port:
                host.vars["ansible_port"] = port
        if group is not None:
            self._groups[group].hosts[name] = None
            host.groups[group] = None

    def add_child(self, parent: str, child: str) -> None:
        """Put the group ``child`` into ``parent``; raises `CycleError` where parent is in child."""
        if path := self._path(child, parent):
            raise CycleError((parent, *path))
        self._groups[parent].children[child] = None
        self._groups[child].parents[parent] = None

    def set_variable(self, name: str, key: str, value: Any, at: Position | None = None, line: str = "") -> None:
        """Set a variable of the group or else host ``name``, which stands ``at`` a place on a ``line``; ValueError for
        a priority that is no number."""
        if at is not None and templated(value):
            self.places[name, key] = Place(value, at, line)
        group = self._groups.get(name)
        if group is None:
            self._hosts[name].vars[key] = value
        elif key != "ansible_group_priority":
            group.vars[key] = value
        else:
            try:
                group.priority = int(value)
            except (TypeError, ValueError):
                raise ValueError(f"ansible_group_priority must be a whole number, not {value!r}") from None

    def has_variable(self, host: str, key: str) -> bool:
        """Whether a source has given the host the variable itself."""
        return key in self._hosts[host].vars

    def _path(self, start: str, goal: str) -> tuple[str, ...]:
        """The groups from ``start`` down to ``goal``, or nothing where goal is not below start."""
        came: dict[str, str | None] = {start: None}
        todo = [start]
        while todo:
            name = todo.pop()
            if name == goal:
                path: list[str] = []
                step: str | None = name
                while step is not None:
                    path.append(step)
                    step = came[step]
                return tuple(reversed(path))
            for child in self._groups[name].children:
                if child not in came:
                    came[child] = name
                    todo.append(child)
        return ()

    def build(self, files: VarFiles, sources: Iterable[str]) -> Inventory:
        """The inventory, with each host's variables merged. Raises `CycleError` where ``all`` is inside a group."""
        for name, group in self._groups.items():
            if name != "all" and not group.parents:
                self.add_child("all", name)
        self._settle_ungrouped()
        merge = _Merge(self._groups, files)
        hosts = {name: merge.host(name, host) for name, host in self._hosts.items()}
        if not any(name in hosts for name in LOCALHOST):
            hosts[LOCALHOST[0]] = merge.implicit(LOCALHOST[0])
        groups = {name: Group(name, tuple(group.children), tuple(group.hosts), merge.own(name))
                  for name, group in self._groups.items()}
        return Inventory(hosts, groups, tuple(sources), {**self.places, **files.places})

    def _settle_ungrouped(self) -> None:
        """Hosts in no group but ``all`` are ungrouped, and no others."""
        ungrouped = self._groups["ungrouped"].hosts
        for name, host in self._hosts.items():
            if "ungrouped" not in host.groups:
                if not host.groups.keys() - {"all"}:
                    self.add_host(name, "ungrouped")
            elif _closure(self._groups, host.groups) - {"all", "ungrouped"}:
                del ungrouped[name], host.groups["ungrouped"]


def _closure(groups: Mapping[str, _Group], names: Iterable[str]) -> frozenset[str]:
    """The groups and all around them."""
    seen = set(names)
    todo = list(seen)
    while todo:
        parents = [parent for parent in groups[todo.pop()].parents if parent not in seen]
        seen.update(parents)
        todo.extend(parents)
    return frozenset(seen)


class _Merge:
    """Ansible's order of precedence: variables of ``all``, of the groups from the outermost in, then those from
    group_vars files in the same order, then the host's own, then its host_vars files. A later value replaces."""

    def __init__(self, groups: Mapping[str, _Group], files: VarFiles) -> None:
        self._groups = groups
        self._files = files
        self._depths = self._measure()
        self._closures: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._bases: dict[tuple[str, ...], dict[str, Any]] = {}

    def _measure(self) -> dict[str, int]:
        """How far below ``all`` each group is, by the longest way."""
        depths = dict.fromkeys(self._groups, 0)
        waiting = {name: len(group.parents) for name, group in self._groups.items()}
        todo = [name for name, count in waiting.items() if not count]
        while todo:
            name = todo.pop()
            for child in self._groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
                waiting[child] -= 1
                if not waiting[child]:
                    todo.append(child)
        return depths

    def _around(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The groups around a host in ``names``, lowest precedence first, ``all`` before the others."""
        if names not in self._closures:
            found = _closure(self._groups, names) - {"all"}
            self._closures[names] = ("all", *sorted(found, key=self._rank))
        return self._closures[names]

    def _rank(self, name: str) -> tuple[int, int, str]:
        return self._depths[name], self._groups[name].priority, name

    def _base(self, groups: tuple[str, ...]) -> dict[str, Any]:
        if groups not in self._bases:
            merged: dict[str, Any] = {}
            for name in groups:
                merged |= self._groups[name].vars
            for folder in self._files.folders:
                merged |= self._files.group(folder, "all")
            for folder in self._files.folders:
                for name in groups[1:]:
                    merged |= self._files.group(folder, name)
            self._bases[groups] = merged
        return self._bases[groups]

    def host(self, name: str, host: _Host) -> Host:
        groups = self._around(tuple(host.groups))
        return Host(name, groups, self._base(groups) | host.vars | self._host_files(name),
                    source=host.source)

    def implicit(self, name: str) -> Host:
        variables = self._base(("all",)) | {"ansible_connection": "local"} | self._host_files(name)
        return Host(name, ("all",), variables, implicit=True)

    def _host_files(self, name: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for folder in self._files.folders:
            merged |= self._files.host(folder, name)
        return merged

    def own(self, name: str) -> dict[str, Any]:
        """A group's own variables, those of its files included."""
        merged = dict(self._groups[name].vars)
        for folder in self._files.folders:
            merged |= self._files.group(folder, name)
        return merged
