"""Inventory variables as Ansible's own templates see them: by bare name, with its magic variables, rendered when used.
https://docs.ansible.com/ansible/latest/reference_appendices/special_variables.html"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultraplan.inventory.model import Host, Inventory
from ultraplan.inventory.values import templated

if TYPE_CHECKING:
    from ultraplan.language.expressions import Variables

MAGIC = ("inventory_hostname", "inventory_hostname_short", "group_names", "groups", "hostvars", "inventory_file",
         "inventory_dir")
"""Names that the templates in an inventory have beside its variables."""


class World:
    """An inventory's hosts with their variables rendered. Safe to use from several threads."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self._hosts: dict[str, HostVars] = {}

    def __getitem__(self, host: str) -> HostVars:
        """The host's variables; KeyError for a host that there is not."""
        if host not in self._hosts:
            self._hosts.setdefault(host, HostVars(self, self.inventory.hosts[host]))
        return self._hosts[host]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The hosts of each group, by name."""
        return {name: list(self.inventory.members(name)) for name in self.inventory.groups}

    @cached_property
    def hostvars(self) -> Mapping[str, HostVars]:
        """Each host's variables, by its name."""
        return Lazy(lambda: list(self.inventory.hosts), self.__getitem__)


class HostVars(Mapping[str, Any]):
    """The variables of one host. A value is rendered when it is asked for, with the host's other variables and `MAGIC`
    as bare names; raises `ultraplan.language.expressions.ExpressionError` where that fails."""

    def __init__(self, world: World, host: Host) -> None:
        self.host = host
        self.magic = _magic(world, host)

    @cached_property
    def _rendered(self) -> Variables:
        from ultraplan.language.expressions import Variables

        return Variables([], {}, inventory=self.host.vars, magic=self.magic)

    @property
    def address(self) -> str:
        """Where the host is reached: ``ansible_host``, else its name."""
        return str(self.get("ansible_host") or self.host.name)

    def __getitem__(self, name: str) -> Any:
        if name not in self.host.vars:
            return self.magic[name]
        value = self.host.vars[name]
        if isinstance(value, str | int | float | None) and not templated(value):
            return value
        return self._rendered[name]

    def __contains__(self, name: object) -> bool:
        return name in self.host.vars or name in self.magic

    def __iter__(self) -> Iterator[str]:
        return iter(self.host.vars)

    def __len__(self) -> int:
        return len(self.host.vars)

    def __repr__(self) -> str:
        return f"HostVars({self.host.name!r})"


class Lazy(Mapping[str, Any]):
    """A mapping whose values are found when they are asked for."""

    def __init__(self, keys: Callable[[], list[str]], value: Callable[[str], Any]) -> None:
        self._keys, self._value = keys, value

    def __getitem__(self, name: str) -> Any:
        return self._value(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._keys()))

    def __len__(self) -> int:
        return len(dict.fromkeys(self._keys()))


def _magic(world: World, host: Host) -> Mapping[str, Any]:
    def value(name: str) -> Any:
        match name:
            case "inventory_hostname":
                return host.name
            case "inventory_hostname_short":
                return host.name.partition(".")[0]
            case "group_names":
                return sorted(name for name in host.groups if name != "all")
            case "groups":
                return world.groups
            case "hostvars":
                return world.hostvars
            case "inventory_file" if host.source:
                return host.source
            case "inventory_dir" if host.source:
                return str(Path(host.source).parent)
        raise KeyError(name)

    return Lazy(lambda: [name for name in MAGIC if host.source or not name.startswith("inventory_d")], value)
