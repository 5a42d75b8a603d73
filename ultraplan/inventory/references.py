"""The secret references in an inventory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ultraplan.inventory.model import Group, Host, Inventory
from ultraplan.secrets import references


def references_in(inventory: Inventory) -> frozenset[str]:
    """Every secret reference in the variables of the hosts and groups: ``env:NAME``, ``vault:FILE#KEY.PATH`` …"""
    found: set[str] = set()
    seen: set[int] = set()
    owners: list[Group | Host] = [*inventory.groups.values(), *inventory.hosts.values()]
    for owner in owners:
        for value in owner.vars.values():
            found.update(_references(value, seen))
    return frozenset(found)


def _references(value: Any, seen: set[int]) -> Iterator[str]:
    """Those in ``value``. Hosts share most values of their groups, so each is looked at once (``seen``: ids)."""
    if isinstance(value, str):
        yield from references(value)
    elif isinstance(value, (Mapping, list)) and id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, list):
            for item in value:
                yield from _references(item, seen)
        elif (reference := reference_of(value)) is not None:
            yield reference
        else:
            for item in value.values():
                yield from _references(item, seen)


def reference_of(value: Mapping[Any, Any]) -> str | None:
    """What ``{secret: SCHEME:REST}`` refers to, or None where ``value`` is no such mapping."""
    named = value.get("secret")
    return named if len(value) == 1 and isinstance(named, str) and ":" in named else None
