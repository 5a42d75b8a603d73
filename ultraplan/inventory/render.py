"""An inventory as ``ansible-inventory`` shows it: ``--list`` (JSON data) and ``--graph`` (text). Secrets show as
references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ultraplan.inventory.model import Inventory
from ultraplan.secrets import shown


def as_list(inventory: Inventory) -> dict[str, Any]:
    """The groups that hold anything, with their hosts and children, and under ``_meta.hostvars`` the variables of each
    host that has any: the form that an inventory script answers ``--list`` with, so that it can be read back."""
    groups: dict[str, Any] = {}
    todo = ["all"]
    while todo:
        name = todo.pop()
        group = inventory.groups[name]
        body = {"hosts": [] if name == "all" else list(group.hosts), "children": list(group.children)}
        groups[name] = {part: names for part, names in body.items() if names}
        todo += [child for child in reversed(group.children) if child not in groups]
    hostvars = {name: _shown(inventory.hosts[name].vars) for name in inventory.members("all")}
    return {"_meta": {"hostvars": {name: values for name, values in hostvars.items() if values}},
            **{name: body for name, body in groups.items() if body}}


def as_graph(inventory: Inventory, group: str = "all") -> str:
    """The tree below ``group``: groups as ``@name:``, hosts as they are. KeyError for an unknown group."""
    return "\n".join(_tree(inventory, group, 0))


def _tree(inventory: Inventory, name: str, depth: int) -> Iterator[str]:
    group = inventory.groups[name]
    yield _branch(f"@{name}:", depth)
    for child in group.children:
        yield from _tree(inventory, child, depth + 1)
    if name != "all":
        for host in group.hosts:
            yield _branch(host, depth + 1)


def _branch(text: str, depth: int) -> str:
    return "  |" * depth + "--" + text if depth else text


def _shown(value: Any) -> Any:
    """``value`` with each secret as ``«secret vault:…»``, and keys as JSON has them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else _key(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value


def _key(key: object) -> str:
    return {True: "true", False: "false", None: "null"}[key] if key is None or isinstance(key, bool) else str(key)
