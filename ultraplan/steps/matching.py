"""Whether JSON holds what is wanted, and if not, where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MISSING = object()
_SHOWN = 200


def mismatches(wanted: Mapping[str, Any], found: Any, path: str = "") -> list[str]:
    """Where ``found`` does not hold ``wanted``: mappings are compared key by key and may hold more; all else has to be
    equal. A key with dots that is no key itself leads downwards; numbers in it are places in a list."""
    wrong: list[str] = []
    for key, value in wanted.items():
        here = f"{path}.{key}" if path else str(key)
        got = _look_up(found, str(key))
        if got is _MISSING:
            wrong.append(f"{here} is missing, wanted {cut(_shown(value))}")
        elif isinstance(value, Mapping) and isinstance(got, Mapping):
            wrong += mismatches(value, got, here)
        elif not _equal(got, value):
            wrong.append(f"{here} is {cut(_shown(got))}, wanted {cut(_shown(value))}")
    return wrong


def _look_up(found: Any, key: str) -> Any:
    if isinstance(found, Mapping):
        if key in found:
            return found[key]
    elif isinstance(found, list) and key.isdecimal():
        return found[int(key)] if int(key) < len(found) else _MISSING
    head, dot, rest = key.partition(".")
    if not dot:
        return _MISSING
    inner = _look_up(found, head)
    return _MISSING if inner is _MISSING else _look_up(inner, rest)


def _equal(found: Any, wanted: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, list) and isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(_equal, found, wanted))
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return found.keys() == wanted.keys() and all(_equal(found[key], wanted[key]) for key in found)
    return bool(found == wanted)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def cut(text: str) -> str:
    """``text`` in one line of at most 200 characters."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
