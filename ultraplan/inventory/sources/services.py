"""What sources that find services have in common: a service is a host with ports, acted on from this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ultraplan.inventory.builder import Builder
from ultraplan.secrets import neutral


def add_service(builder: Builder, name: str, groups: Iterable[str], variables: Mapping[str, Any]) -> None:
    """Have a host for a service, in ``groups``. What an earlier source says of it stays; the first to name it decides
    how it is reached, too: from here, unless it said otherwise."""
    new = name not in builder.hosts
    for group in groups:
        builder.add_group(group)
        builder.add_host(name, group)
    for key, value in {**({"ansible_connection": "local"} if new else {}), **variables}.items():
        if value is not None and not builder.has_variable(name, key):
            builder.set_variable(name, key, clean(value))


def clean(value: Any) -> Any:
    """``value`` from outside, in which nothing can pass for a secret's marker or for a template."""
    from ultraplan.vault import inert

    if isinstance(value, Mapping):
        if set(value) == {"secret"}:
            return dict(value)
        return {neutral(str(key)): clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean(one) for one in value]
    return inert(neutral(value)) if isinstance(value, str) else value
