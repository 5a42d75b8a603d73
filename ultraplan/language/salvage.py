"""What is left of a plan's data when its mistakes are taken out, so that the rest can be checked in the same go.

Nothing here says what is wrong: that is done already. What cannot be used is left out or replaced by something neutral
in the same place, and the names that may have gone with it become *doubts*: whoever goes on says nothing about those.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ultraplan.language.schema import CONSTRUCTS

UNREADABLE = "?"
"""The type of a step of which it is not known what it is; and a condition that cannot be read."""

ORDER = "order"
"""The doubt about what waits for what."""

_ROUNDS = 8  # taking one mistake out can bring another to light, but not without end
_ROLES = ("block", "rescue", "always")

Path = tuple[str | int, ...]


class Salvage:
    """``data``: a copy of the plan's data that the schema accepts (parameters of steps aside), each thing in its old
    place, or None where nothing is left. ``doubts``: names, dotted, whose meaning is not known (``vars``,
    ``inputs.version``), and `ORDER`. ``blanked``: keys of the plan of which something could not be read."""

    def __init__(self, data: Any, validator: Any, types: Mapping[str, Any], blanked: Iterable[str] = ()) -> None:
        self.data: Any = copy.deepcopy(data) if isinstance(data, dict) else None
        self.doubts: set[str] = set()
        for key in blanked:
            self.doubts.update({"steps", ORDER} if key == "steps" else {key} if key else {"vars", "inputs", "hosts"})
        self._types = types
        self._made = 0
        for _ in range(_ROUNDS):
            errors = [] if self.data is None else list(filter(self._matters, validator.iter_errors(self.data)))
            if not errors:
                break
            for error in errors:
                self._without(error)
        else:
            self.data = None
        if self.data is not None:
            self._settle(self.data["steps"])

    def doubt(self, mistakes: Iterable[tuple[str, Path]]) -> None:
        """Doubt what ``mistakes`` (codes with their places) put in question without breaking the plan's shape."""
        for code, path in mistakes:
            if path[:1] == ("inputs",) and len(path) > 1:
                self.doubts.add(f"inputs.{path[1]}")
            elif code in ("duplicate-id", "needs-itself"):
                self.doubts.add(ORDER)

    def _matters(self, error: Any) -> bool:
        path = tuple(error.absolute_path)
        if any(part in self._types and _is_step(path[:at]) for at, part in enumerate(path)):
            return False  # parameters are read as they are
        if isinstance(error.instance, dict) and UNREADABLE in error.instance:
            known = error.schema.get("properties", {})
            return error.validator != "oneOf" and not (
                error.validator == "additionalProperties" and set(error.instance) - {UNREADABLE} <= set(known))
        return True

    def _without(self, error: Any) -> None:
        path = tuple(error.absolute_path)
        holder = self._at(path)
        if holder is _GONE or holder is not error.instance:
            return  # gone with something around it
        if "propertyNames" in error.absolute_schema_path:
            self._drop((*path, error.instance))
        elif error.validator == "additionalProperties":
            self._unknown_keys(path, holder, error.schema.get("properties", {}))
        elif error.validator == "required":
            self._missing(path, holder, error.validator_value)
        elif error.validator == "oneOf" and _is_step(path):
            types = [key for key in holder if key in self._types or key in CONSTRUCTS]
            for extra in types[1:]:
                del holder[extra]
            if not types:
                holder[UNREADABLE] = {}
        else:
            self._drop(path)

    def _unknown_keys(self, path: Path, holder: dict[str, Any], known: Mapping[str, Any]) -> None:
        stray = {key: holder.pop(key) for key in list(holder) if key not in known}
        if _is_step(path) and not any(key in self._types or key in CONSTRUCTS for key in holder):
            holder[UNREADABLE] = stray
        if not path:
            self.doubts.update({"vars", "inputs"} - set(holder))  # one of the strange keys may be it, misspelt

    def _missing(self, path: Path, holder: dict[str, Any], wanted: Iterable[str]) -> None:
        for key in wanted:
            if key in holder:
                continue
            if not path:
                holder[key] = [] if key == "steps" else "unnamed"
            elif key == "id" and _is_step(path):
                holder[key] = self._name()
                self.doubts.update({"steps", ORDER})
            else:
                self._drop(path)
                return

    def _name(self) -> str:
        self._made += 1
        return f"unnamed-{self._made}"

    def _drop(self, path: Path) -> None:
        """Take out what stands at ``path``, and doubt what it may have said."""
        if not path:
            self.data = None
            return
        last, parent = path[-1], self._at(path[:-1])
        in_step = _is_step(path[:-1])
        if isinstance(last, int):
            if not _is_step(path):
                self._drop(path[:-1])
                return
            parent[last] = {"id": self._name(), UNREADABLE: {}}
            self.doubts.update({"steps", ORDER})
        elif path == ("steps",):
            parent[last] = []
            self.doubts.update({"steps", ORDER})
        elif last == "needs" and in_step:
            parent[last] = []
            self.doubts.add(ORDER)
        elif last == "when" and in_step:
            parent[last] = UNREADABLE
        else:
            if last in ("id", *CONSTRUCTS, *_ROLES) and in_step:
                self.doubts.update({"steps", ORDER})
            if last in ("vars", "inputs", "hosts"):
                self.doubts.add(str(last))
            if len(path) > 1 and path[0] == "inputs":
                self.doubts.add(f"inputs.{path[1]}")
            del parent[last]

    def _at(self, path: Path) -> Any:
        here = self.data
        for part in path:
            inside = part in here if isinstance(here, dict) else (
                isinstance(here, list) and isinstance(part, int) and part < len(here))
            if not inside:
                return _GONE
            here = here[part]
        return here

    def _settle(self, steps: Any) -> None:
        """Steps without a type become ones of an unknown type, or blocks where only the parts of one are there."""
        for step in steps:
            if not any(key in self._types or key in CONSTRUCTS for key in step):
                step["block" if set(_ROLES) & set(step) else UNREADABLE] = []
            undo = step.get("undo")
            if isinstance(undo, dict) and not any(key in self._types for key in undo):
                del step["undo"]
            for role in _ROLES:
                self._settle(step.get(role, ()))


_GONE: Any = object()


def _is_step(path: Path) -> bool:
    if path[-1:] == ("undo",):
        return _is_step(path[:-1])
    return len(path) >= 2 and isinstance(path[-1], int) and path[-2] in ("steps", *_ROLES)
