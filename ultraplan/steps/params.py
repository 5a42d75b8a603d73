"""Step parameters: from a dataclass to its JSON schema, and from rendered values to a typed instance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from ultraplan.language.values import DURATION_PATTERN, MODE_PATTERN, SIZE_PATTERN, Duration, Size
from ultraplan.steps.base import StepType

NAME_PATTERN = "^[A-Za-z_][A-Za-z0-9_]*$"
"""A name that expressions can use."""

Mode = Annotated[str, Meta(pattern=MODE_PATTERN, description='File mode as a quoted octal string, "0640"')]
"""A file mode; `ultraplan.language.values.parse_mode` reads it."""

AbsolutePath = Annotated[str, Meta(pattern="^/", description="An absolute path on the host")]
"""A path on the host."""


class SourceFile:
    """A file or folder of the controller that a parameter names (relative to the plan file); ``path``: where it is.

    Neither this nor `TemplateFile` is a dataclass, which msgspec would want written out field by field.
    """

    __slots__ = ("name", "path")

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceFile) and (self.name, self.path) == (other.name, other.path)

    def __hash__(self) -> int:
        return hash((self.name, self.path))

    def __repr__(self) -> str:
        return f"SourceFile({self.name!r}, {self.path!r})"


class TemplateFile:
    """A template file that a parameter names, already rendered to ``text``."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TemplateFile) and (self.name, self.text) == (other.name, other.text)

    def __hash__(self) -> int:
        return hash((self.name, self.text))

    def __repr__(self) -> str:
        return f"TemplateFile({self.name!r}, {self.text!r})"


Files = Callable[[type, str], Any]
"""Makes a `SourceFile` or `TemplateFile` of a name; raises ValueError with what is wrong."""


class BadParams(Exception):
    """Rendered parameters do not fit; ``path`` leads to the culprit below the parameters."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


def build(step: StepType[Any], rendered: Any, files: Files) -> Any:
    """The typed parameters of ``step`` from ``rendered`` values; raises `BadParams`.

    A scalar that is one whole expression keeps its type: where any text is wanted, a number or a boolean is taken as
    templates print it. Where text has a form (a mode, a path) it is not: mode 640 is a mistake.
    """
    if not isinstance(rendered, Mapping) and step.shorthand is not None:
        rendered = {step.shorthand: rendered}

    def special(kind: type, value: Any) -> Any:
        if kind in (SourceFile, TemplateFile) and isinstance(value, str):
            return files(kind, value)
        if kind is Duration:
            return value if isinstance(value, Duration) else Duration.parse(str(value))
        if kind is Size:
            return value if isinstance(value, Size) else Size.parse(str(value))
        raise ValueError(f"cannot be a {kind.__name__}: {value!r}")

    try:
        return msgspec.convert(_as_text(_known_schema(step), rendered), step.Params, dec_hook=special)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise BadParams(message, _path(where.rstrip("`"))) from None
    except ValueError as error:
        raise BadParams(str(error)) from None


def schema(step: StepType[Any]) -> dict[str, Any]:
    """The JSON schema (2020-12) of the step type's parameters, where any scalar may be a template instead."""
    plain = plain_schema(step)
    loose: dict[str, Any] = _loosen(plain)
    for name in step.raw_params:
        loose["properties"][name] = plain["properties"][name]
    return loose


def plain_schema(step: StepType[Any]) -> dict[str, Any]:
    """The JSON schema of the step type's rendered parameters, with descriptions and defaults."""

    def special(kind: type) -> dict[str, Any]:
        if kind is Duration:
            return {"type": "string", "pattern": DURATION_PATTERN, "description": "A duration: 90s, 15m, 1h"}
        if kind is Size:
            return {"type": "string", "pattern": SIZE_PATTERN, "description": "A size: 100MB, 1GiB"}
        if kind is SourceFile:
            return {"type": "string", "minLength": 1, "description": "A file or folder beside the plan"}
        if kind is TemplateFile:
            return {"type": "string", "minLength": 1, "description": "A Jinja2 template file beside the plan"}
        raise NotImplementedError(kind)

    (ref,), components = msgspec.json.schema_components(
        [step.Params], schema_hook=special, ref_template="#/$defs/{name}")
    if "$ref" not in ref:
        return {**ref, "minProperties": 1, "propertyNames": {"pattern": NAME_PATTERN}}
    found = dict(components.pop(ref["$ref"].rpartition("/")[2]))
    found.pop("title", None)
    found["additionalProperties"] = False
    for field in dataclasses.fields(step.Params):
        default = None if field.default_factory is dataclasses.MISSING else field.default_factory()
        if isinstance(default, Duration):
            found["properties"][field.name]["default"] = str(default)
    for name in step.raw_params:
        told = {key: value for key, value in found["properties"][name].items() if key == "description"}
        found["properties"][name] = {**_EXPRESSIONS, **told}
    if components:
        found = _inline(found, components)
    return found


@cache
def file_fields(step: StepType[Any]) -> Mapping[str, bool]:
    """The parameters that name a file or folder beside the plan; true for those that are templates."""
    if not dataclasses.is_dataclass(step.Params):
        return {}
    kinds = {name: {kind, *get_args(kind)} for name, kind in get_type_hints(step.Params).items()}
    return {name: TemplateFile in kind for name, kind in kinds.items() if {SourceFile, TemplateFile} & kind}


@cache
def _known_schema(step: StepType[Any]) -> dict[str, Any]:
    return plain_schema(step)


def _as_text(wanted: Any, value: Any) -> Any:
    """``value`` with text for numbers and booleans, where the schema ``wanted`` allows any text and nothing else."""
    choices = wanted.get("anyOf", [wanted]) if isinstance(wanted, Mapping) else []
    if isinstance(value, bool | int | float):
        types = {one.get("type", "any" if "enum" not in one else "enum") for one in choices}
        free = any(one.get("type") == "string" and "pattern" not in one for one in choices)
        if not free or not types <= {"string", "null"}:
            return value
        from ultraplan.language.filters import text  # and Jinja with it, which checking a plan may do without

        return text(value)
    if isinstance(value, Mapping):
        inner: Mapping[str, Any] = next((one for one in choices if one.get("type") == "object"), {})
        known, others = inner.get("properties", {}), inner.get("additionalProperties")
        return {key: _as_text(known.get(key, others), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        items = next((one.get("items") for one in choices if one.get("type") == "array"), None)
        return [_as_text(items, one) for one in value]
    return value


def _path(where: str) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    for piece in where.replace("[", ".[").split("."):
        if piece.startswith("["):
            inner = piece[1:-1]
            if inner.isdigit():
                parts.append(int(inner))
        elif piece:
            parts.append(piece)
    return tuple(parts)


def _inline(node: Any, components: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target = components[node["$ref"].rpartition("/")[2]]
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return _inline({**target, "additionalProperties": False, **rest}, components)
        return {key: _inline(value, components) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(value, components) for value in node]
    return node


_EXPRESSION = {"type": "string", "minLength": 1, "description": "An expression, without braces"}
_EXPRESSIONS = {"anyOf": [_EXPRESSION, {"type": "array", "minItems": 1, "items": _EXPRESSION}]}
_TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%", "description": "A template"}
_SECRET = {
    "type": "object", "properties": {"secret": {"type": "string"}}, "required": ["secret"],
    "additionalProperties": False, "description": "A secret by reference",
}


def _loosen(node: Any) -> Any:
    """``node`` where each scalar may be a template, and each free string a secret reference."""
    if not isinstance(node, dict):
        return node
    out = dict(node)
    for key in ("properties", "$defs", "patternProperties"):
        if key in out:
            out[key] = {name: _loosen(value) for name, value in out[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _loosen(out[key])
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in out:
            out[key] = [_loosen(value) for value in out[key]]
    kept = {key: out.pop(key) for key in ("description", "default", "title", "examples") if key in out}
    kind = out.get("type")
    if kind == "string" and not set(out) & {"enum", "const", "pattern", "minLength"}:
        return {"anyOf": [out, _SECRET], **kept}
    if kind in ("string", "integer", "number", "boolean", "array") or "enum" in out or "const" in out:
        extra = [_SECRET] if kind == "string" and "minLength" in out else []
        return {"anyOf": [out, _TEMPLATE, *extra], **kept}
    return {**out, **kept}
