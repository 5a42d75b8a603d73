"""How inventory hosts are reached: their connection variables, templates in them filled in as Ansible does."""

from __future__ import annotations

from typing import Any

from ultraplan.inventory.model import Host
from ultraplan.language.expressions import ExpressionError, references, render
from ultraplan.transport.base import TransportError
from ultraplan.transport.target import Target

_PREFIXES = ("ansible_", "ultraplan_")


def target_of(host: Host) -> Target:
    """The target of ``host``. Its connection variables may be templates over its other variables, by bare name as in
    Ansible (``{{ address }}``) or as ``vars.address``, and over ``inventory_hostname``. Raises `TransportError`."""
    return Target.of(host.name, {name: _value(host, name, ()) for name in host.vars if name.startswith(_PREFIXES)})


def _value(host: Host, name: str, chain: tuple[str, ...]) -> Any:
    raw = host.vars[name]
    used = references(raw)
    if not used:
        return raw
    if name in chain:
        raise TransportError(host.name, f"these variables need each other: {' → '.join((*chain, name))}")
    names: dict[str, Any] = {"inventory_hostname": host.name, "host": {"name": host.name}}
    inner: dict[str, Any] = {}
    for root, *rest in used:
        wanted = rest[0] if root == "vars" and rest else root
        if wanted in host.vars and wanted not in inner:
            inner[wanted] = _value(host, wanted, (*chain, name))
    try:
        return render(raw, {**inner, **names, "vars": inner})
    except ExpressionError as error:
        raise TransportError(host.name, f"{name}: {error}", "the host's variables are what `ultraplan inventory list` "
                             "shows") from None
