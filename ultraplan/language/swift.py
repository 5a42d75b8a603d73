"""Whether data is valid by a JSON schema, quickly: the schema becomes closures, and the parts that data needs are made
when it needs them.

It answers yes or no for the keywords that plans' schemas use, as JSON Schema 2020-12 has them; `jsonschema` is the
reference, finds the words for what is wrong, and a test holds the two together. A keyword that is not known here makes
the answer None: ask the reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]
Definitions = Callable[[str], Mapping[str, Any]]
"""From the name of a definition (below ``#/$defs/``) to its schema."""

_NOTES = frozenset({"description", "title", "default", "examples", "$schema", "$defs", "$id", "$comment", "deprecated"})
_REF = "#/$defs/"


class Unsupported(Exception):
    """The schema has a keyword that only the reference knows."""


class Swift:
    """A validator for ``schema``, whose ``$ref`` are looked up in ``definitions``."""

    def __init__(self, schema: Mapping[str, Any], definitions: Definitions) -> None:
        self._schema = schema
        self._definitions = definitions
        self._known: dict[str, Check] = {}

    def valid(self, data: Any) -> bool | None:
        """Whether ``data`` is valid; None where only the reference can tell."""
        try:
            return self._check(self._schema)(data)
        except Unsupported:
            return None

    def _check(self, schema: Any) -> Check:
        """The check of a schema."""
        if isinstance(schema, bool):
            return lambda value, answer=schema: answer  # type: ignore[misc]
        checks = [check for key in schema if key not in _NOTES and (check := self._keyword(key, schema)) is not None]
        if not checks:
            return lambda value: True
        if len(checks) == 1:
            return checks[0]

        def every(value: Any) -> bool:
            return all(check(value) for check in checks)

        return every

    def _keyword(self, key: str, schema: Mapping[str, Any]) -> Check | None:
        wanted = schema[key]
        match key:
            case "$ref":
                return self._reference(wanted)
            case "type":
                return _of_type(wanted)
            case "enum" | "const":
                return _among(wanted if key == "enum" else [wanted])
            case "pattern":
                search = re.compile(wanted).search
                return lambda value: not isinstance(value, str) or search(value) is not None
            case "anyOf" | "oneOf" | "allOf":
                return self._several(key, wanted)
            case "items":
                item = self._check(wanted)
                return lambda value: not isinstance(value, list) or all(map(item, value))
            case "required":
                return lambda value: not isinstance(value, dict) or all(one in value for one in wanted)
            case "propertyNames":
                name = self._check(wanted)
                return lambda value: not isinstance(value, dict) or all(map(name, value))
            case "properties":
                return self._properties(schema)
            case "additionalProperties":
                return None if "properties" in schema else self._properties(schema)
            case _ if key in _BOUNDS:
                kinds, bound = _BOUNDS[key]
                return lambda value: not isinstance(value, kinds) or isinstance(value, bool) or bound(value, wanted)
        raise Unsupported(key)

    def _reference(self, to: str) -> Check:
        if not to.startswith(_REF):
            raise Unsupported(to)
        name = to.removeprefix(_REF)

        def check(value: Any) -> bool:
            if name not in self._known:  # made when it is first needed: definitions refer to themselves
                self._known[name] = self._check(self._definitions(name))
            return self._known[name](value)

        return check

    def _several(self, key: str, schemas: list[Any]) -> Check:
        names = frozenset(map(_required, schemas))
        if key == "oneOf" and len(names) == len(schemas) > 1 and None not in names:
            # What is no mapping fits each of them.
            return lambda value: isinstance(value, dict) and len(names.intersection(value)) == 1
        checks = [self._check(one) for one in schemas]
        if key == "anyOf":
            return lambda value: any(check(value) for check in checks)
        if key == "allOf":
            return lambda value: all(check(value) for check in checks)
        return lambda value: sum(check(value) for check in checks) == 1

    def _properties(self, schema: Mapping[str, Any]) -> Check:
        if "patternProperties" in schema:
            raise Unsupported("patternProperties")
        schemas, known = schema.get("properties", {}), dict[str, Check]()
        others = schema.get("additionalProperties", True)
        other: Check = self._check(others)

        def check(value: Any) -> bool:
            if not isinstance(value, dict):
                return True
            for key, one in value.items():
                if key in schemas:
                    if key not in known:
                        known[key] = self._check(schemas[key])
                    if not known[key](one):
                        return False
                elif not other(one):
                    return False
            return True

        return check


_BOUNDS: Mapping[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool]]] = {
    "minLength": (str, lambda value, least: len(value) >= least),
    "maxLength": (str, lambda value, most: len(value) <= most),
    "minItems": (list, lambda value, least: len(value) >= least),
    "maxItems": (list, lambda value, most: len(value) <= most),
    "minProperties": (dict, lambda value, least: len(value) >= least),
    "maxProperties": (dict, lambda value, most: len(value) <= most),
    "minimum": ((int, float), lambda value, least: value >= least),
    "maximum": ((int, float), lambda value, most: value <= most),
    "exclusiveMinimum": ((int, float), lambda value, least: value > least),
    "exclusiveMaximum": ((int, float), lambda value, most: value < most),
}
"""Keywords that bound a value, with the types that they speak of; true and false are no numbers."""


def _is_integer(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


_TYPES: Mapping[str, Check] = {
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def _of_type(wanted: str | list[str]) -> Check:
    if isinstance(wanted, str):
        return _TYPES[wanted]
    checks = [_TYPES[one] for one in wanted]
    return lambda value: any(check(value) for check in checks)


def _among(words: list[Any]) -> Check:
    """Equal to one of ``words``; to JSON Schema 1 and 1.0 are equal, 1 and true are not."""
    if any(isinstance(word, list | dict) for word in words):
        raise Unsupported("enum")
    return lambda value: any(isinstance(value, bool) == isinstance(word, bool) and value == word for word in words)


def _required(schema: Any) -> str | None:
    """The one key that ``schema`` requires, where that is all it says."""
    wanted: list[str] = schema.get("required", []) if isinstance(schema, dict) and len(schema) == 1 else []
    return wanted[0] if len(wanted) == 1 else None
