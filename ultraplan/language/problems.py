"""Collecting mistakes, and turning what a JSON schema refuses into words that help."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ultraplan.language import hints
from ultraplan.language.errors import Diagnostic, Position, did_you_mean
from ultraplan.language.schema import CONSTRUCTS, ID_PATTERN, INPUT_PATTERN, KEYWORDS, NAME_PATTERN
from ultraplan.language.source import SourceMap
from ultraplan.language.values import DURATION_PATTERN, MODE_PATTERN, PERCENT_PATTERN, SIZE_PATTERN

Path = tuple[str | int, ...]

_Error = Any
"""A `jsonschema.ValidationError`, whose attributes are typed too widely to be of use."""

_TEMPLATE = r"\{\{|\{%"
_PATTERNS = {
    DURATION_PATTERN: ("duration", "a duration", "write it with its unit: 90s, 15m, 1h30m or 250ms"),
    SIZE_PATTERN: ("size", "a size", "write it with its unit: 512B, 100MB or 1GiB"),
    MODE_PATTERN: ("mode", "a file mode", 'write it as a quoted string: "0640"'),
    PERCENT_PATTERN: ("percent", "a percent", "write it as 25%"),
    ID_PATTERN: ("id", "a step id", "letters, digits, '_', '.' and '-', beginning with a letter or a digit"),
    INPUT_PATTERN: ("name", "a name for an input", "letters, digits, '_' and '-', beginning with a letter"),
    NAME_PATTERN: ("name", "a name that expressions can use", "letters, digits and '_', beginning with a letter"),
    "^/": ("absolute-path", "an absolute path", "it begins with /"),
    r"\S": ("empty", "a reason", "say why there is no way back"),
}
_TYPES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
          "array": "a list", "object": "a mapping", "null": "nothing"}


class Problems:
    """The mistakes found in one file, with their positions."""

    def __init__(self, source: SourceMap) -> None:
        self.source = source
        self.found: list[Diagnostic] = []
        self.places: list[tuple[str, Path]] = []
        """The codes of the mistakes in values and keys, with the paths to those."""

    def at(self, code: str, message: str, position: Position, hint: str | None = None) -> None:
        """Note a mistake at ``position``."""
        self.found.append(Diagnostic(code, message, position, self.source.line(position.line), hint))

    def value(self, code: str, message: str, path: Path, hint: str | None = None) -> None:
        """Note a mistake in the value at ``path``."""
        self.places.append((code, path))
        self.at(code, message, self.source.at(path), hint)

    def forget(self, which: Callable[[Path], bool]) -> None:
        """Take back the mistakes noted in values and keys at paths of which ``which`` is true."""
        gone = {self.source.at(path, key=key) for _, path in self.places for key in (False, True) if which(path)}
        self.found = [one for one in self.found if one.at not in gone]
        self.places = [(code, path) for code, path in self.places if not which(path)]

    def key(self, code: str, message: str, path: Path, hint: str | None = None) -> None:
        """Note a mistake in the key at the end of ``path``."""
        self.places.append((code, path))
        self.at(code, message, self.source.at(path, key=True), hint)


def found(value: Any) -> str:
    """``value`` in a few words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {json.dumps(value if len(value) <= 40 else value[:39] + '…', ensure_ascii=False)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


class SchemaProblems:
    """Reads the errors of a validator of the plan schema. ``types``: the step types' names."""

    def __init__(self, problems: Problems, types: Mapping[str, Any]) -> None:
        self._problems = problems
        self._types = types

    def read(self, error: _Error) -> None:
        """Note what ``error`` means."""
        path = tuple(error.absolute_path)
        match error.validator:
            case "oneOf":
                return  # exactly one step type: `ultraplan.language.checks` says it better
            case "anyOf":
                self._alternatives(error, path)
            case "additionalProperties":
                self._unknown_keys(error, path)
            case "required":
                self._missing(error, path)
            case _:
                self._leaf(error, path)

    def _alternatives(self, error: _Error, path: Path) -> None:
        """Of the alternatives that a value fits none of, tell the ones that it comes nearest to."""
        leaves = [leaf for leaf in _leaves(error) if not _incidental(leaf)]
        depth = max((len(leaf.absolute_path) for leaf in leaves), default=len(path))
        by_place: dict[Path, list[_Error]] = {}
        for leaf in leaves:
            if len(leaf.absolute_path) == depth:
                by_place.setdefault(tuple(leaf.absolute_path), []).append(leaf)
        for place, nearest in by_place.items():
            constraints = [leaf for leaf in nearest if leaf.validator != "type"]
            keys = [leaf for leaf in constraints if leaf.validator in ("additionalProperties", "required")]
            special = next((leaf for leaf in nearest if leaf.schema.get("pattern") in _PATTERNS), None)
            if constraints:
                for leaf in keys or constraints[:1]:
                    self.read(leaf)
            elif special is not None and not isinstance(special.instance, list | dict):
                self._leaf(special, place)
            else:
                wanted = dict.fromkeys(_TYPES[one] for leaf in nearest for one in _list(leaf.validator_value))
                self._wrong_type(place, nearest[0].instance, " or ".join(wanted))
        if not by_place:
            self._problems.value("type", f"{_named(path)} cannot be {found(error.instance)}", path)

    def _leaf(self, error: _Error, path: Path) -> None:
        value, wanted = error.instance, error.validator_value
        if error.validator in ("type", "pattern") and error.schema.get("pattern") in _PATTERNS \
                and not isinstance(value, list | dict):
            self._pattern(error, path, *_PATTERNS[error.schema["pattern"]])
            return
        match error.validator:
            case "type":
                self._wrong_type(path, value, " or ".join(_TYPES[one] for one in _list(wanted)))
            case "enum" | "const":
                words = wanted if error.validator == "enum" else [wanted]
                known = ", ".join(str(one) for one in words)
                hint = did_you_mean(value, map(str, words)) if isinstance(value, str) else None
                self._problems.value("choice", f"{found(value)} is not one of: {known}", path,
                                     hint or _boolean_hint(value))
            case "minLength" | "minItems" | "minProperties":
                self._problems.value("empty", f"{_named(path)} is empty", path, None)
            case "minimum" | "exclusiveMinimum":
                self._problems.value("range", f"{value} is too small: {wanted} is the least", path)
            case "maximum" | "exclusiveMaximum":
                self._problems.value("range", f"{value} is too large: {wanted} is the most", path)
            case "maxLength" | "maxItems" | "maxProperties":
                self._problems.value("range", f"{_named(path)} is too long: {wanted} is the most", path)
            case "pattern":
                self._problems.value("pattern", f"{found(value)} does not fit the pattern {wanted}", path)
            case _:
                self._problems.value("invalid", error.message, path)

    def _pattern(self, error: _Error, path: Path, code: str, what: str, hint: str) -> None:
        value = error.instance
        if "propertyNames" in error.absolute_schema_path:
            self._problems.key(code, f"{value!r} is not {what}", (*path, value), hint)
            return
        written = self._written(path)
        if code == "mode" and isinstance(value, int) and re.fullmatch("0?o?[0-7]{3,4}", written):
            digits = written.replace("o", "")
            hint = f'write it as a quoted string: "{digits.zfill(4)}"'
            self._problems.value(code, f"{written} is a number here, and not {what}", path, hint)
            return
        if code == "duration" and isinstance(value, int | float) and not isinstance(value, bool):
            hint = f"write it with its unit: {written}s, {written}m or {written}h"
        self._problems.value(code, f"{found(value)} is not {what}", path, hint)

    def _written(self, path: Path) -> str:
        at = self._problems.source.at(path)
        return self._problems.source.line(at.line)[at.column - 1 : at.column - 1 + at.length]

    def _wrong_type(self, path: Path, value: Any, wanted: str) -> None:
        hint = _boolean_hint(value) if "true or false" in wanted else None
        if wanted == "text" and isinstance(value, int | float):
            hint = "put it in quotes"
        if not path:
            self._problems.value("type", f"a plan is {wanted}, not {found(value)}", path,
                                 "an Ansible playbook is a list; a plan is what stands in one of its items"
                                 if isinstance(value, list) else None)
            return
        self._problems.value("type", f"{_named(path)} must be {wanted}, not {found(value)}", path, hint)

    def _unknown_keys(self, error: _Error, path: Path) -> None:
        known = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                self._unknown_key(key, path, known, error.instance)

    def _unknown_key(self, key: str, path: Path, known: list[str], around: Mapping[str, Any]) -> None:
        here = (*path, key)
        if not path:
            self._problems.key("unknown-key", f"a plan has no '{key}'", here, hints.for_plan(key)
                               or did_you_mean(key, known) or self._step_word_in_plan(key))
            return
        kind = "an undo" if path[-1] == "undo" else "a step" if _is_step(path) else None
        if kind is None:
            self._problems.key("unknown-key", f"{_named(path)} has no '{key}'; it has {_listed(known)}", here,
                               hints.for_parameter(key, known) or did_you_mean(key, known))
            return
        types = {*self._types, *CONSTRUCTS}
        hint = hints.for_step(key)
        if not types & set(around) and not (key in hints.STEP_WORDS or key.startswith("with_")):
            self._problems.key("unknown-step-type", f"there is no step type '{key}'", here,
                               did_you_mean(key, known) or hint or "ultraplan steps lists them")
            return
        if kind == "an undo" and key in KEYWORDS | {"id"}:
            hint = "an undo takes its id and conditions from its step"
        self._problems.key("unknown-key", f"{kind} has no '{key}'", here, hint or did_you_mean(key, known))

    def _step_word_in_plan(self, key: str) -> str | None:
        return "it belongs to a step, under 'steps'" if key in self._types or key in KEYWORDS else None

    def _missing(self, error: _Error, path: Path) -> None:
        key = next((one for one in error.validator_value if f"'{one}'" in error.message), "")
        what = "a plan" if not path else "a step" if _is_step(path) else _named(path)
        hint = {("a step", "id"): "give it a name of its own: id: NAME", ("a plan", "plan"): "name it: plan: NAME",
                ("a plan", "steps"): "write what to do: steps: [ … ]"}.get((what, key))
        code = "missing-key"
        if path and not _is_step(path) and isinstance(path[-1], str):
            self._problems.key(code, f"{what} lacks '{key}'", path, hint)
        else:
            self._problems.value(code, f"{what} lacks '{key}'", path, hint)


def _leaves(error: _Error) -> Iterator[_Error]:
    for one in error.context or ():
        if one.validator == "anyOf":
            yield from _leaves(one)
        else:
            yield one


def _incidental(leaf: _Error) -> bool:
    """Whether ``leaf`` comes from an alternative that any value has: a template, a secret, null."""
    schema = leaf.schema
    if schema.get("pattern") == _TEMPLATE or schema.get("type") == "null":
        return True
    parent = schema if "properties" in schema else None
    if parent is None or list(parent["properties"]) != ["secret"]:
        return False
    return not (isinstance(leaf.instance, dict) and "secret" in leaf.instance)


def _is_step(path: Path) -> bool:
    return len(path) >= 2 and isinstance(path[-1], int) and path[-2] in ("steps", "block", "rescue", "always")


def _named(path: Path) -> str:
    """What stands at ``path``, as people call it."""
    if not path:
        return "the plan"
    last = path[-1]
    if isinstance(last, str):
        return f"'{last}'"
    if _is_step(path):
        return "a step"
    return f"item {last + 1} of '{path[-2]}'" if len(path) > 1 and isinstance(path[-2], str) else f"item {last + 1}"


def _listed(known: list[str]) -> str:
    return ", ".join(known) if known else "no keys"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _boolean_hint(value: Any) -> str | None:
    """People who write YAML 1.1 mean booleans by these words."""
    if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        return f"write {'true' if value.lower() in ('yes', 'on') else 'false'}: '{value}' is text in YAML 1.2"
    return None
