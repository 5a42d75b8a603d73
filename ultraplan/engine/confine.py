"""What comes from hosts and servers before it is kept: data that can ask for nothing and gives nothing away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultraplan.secrets import Secrets


def concealed(secrets: Secrets, value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` with every string, however deep, concealed (`Secrets.conceal`), and only JSON types in it."""
    return {str(key): _inner(secrets, inner) for key, inner in value.items()}


def told(facts: Mapping[str, Any]) -> str:
    """Facts of a host in a few words, for messages."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())[:300] or "nothing"


def _inner(secrets: Secrets, value: Any) -> Any:
    match value:
        case str():
            return secrets.conceal(value)
        case bool() | int() | float() | None:
            return value
        case bytes():
            return secrets.conceal(value.decode("utf-8", "replace"))
        case Mapping():
            return concealed(secrets, value)
        case list() | tuple():
            return [_inner(secrets, one) for one in value]
        case _:
            return secrets.conceal(str(value))
