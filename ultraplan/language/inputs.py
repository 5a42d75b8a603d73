"""The values of a plan's inputs: where they come from, and that they are what the plan declares."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ultraplan.language.document import Document, Input
from ultraplan.language.errors import Diagnostic, SourceError, did_you_mean
from ultraplan.language.source import load_yaml, read_source
from ultraplan.language.unknown import MISTAKEN
from ultraplan.language.values import Duration, Size
from ultraplan.secrets import has_marker, marker, rooted

PREFIX = "ULTRAPLAN_INPUT_"
"""Environment variables that give inputs; the name follows in upper case, with dashes as underscores."""

SCHEMES = ("env", "file", "vault")
"""Where secrets are taken from."""


def parse_extra(args: Sequence[str]) -> dict[str, Any]:
    """The inputs that ``-e`` arguments give: ``NAME=VALUE`` (text) or ``@FILE`` (a YAML mapping). Later ones win.

    Raises `SourceError`.
    """
    given, wrong = examine_extra(args)
    if wrong:
        raise SourceError(wrong)
    return given


def examine_extra(args: Sequence[str]) -> tuple[dict[str, Any], list[Diagnostic]]:
    """As `parse_extra`, with what is wrong beside what is given."""
    given: dict[str, Any] = {}
    wrong: list[Diagnostic] = []
    for arg in args:
        if arg.startswith("@"):
            try:
                data, source = load_yaml(read_source(arg[1:]), arg[1:])
            except SourceError as error:
                wrong.extend(error.diagnostics)
                continue
            if data is not None and not isinstance(data, dict):
                wrong.append(Diagnostic("input", "a file of inputs is a mapping from names to values", source.at(()),
                                        source.line(1)))
            else:
                given.update(_rooted(data or {}, Path(arg[1:]).absolute().parent))
            continue
        name, equals, value = arg.partition("=")
        if not equals or not name:
            wrong.append(Diagnostic("input", "-e takes NAME=VALUE or @FILE", hint="for example: -e version=1.4.2"))
        else:
            given[name] = value
    return given, wrong


def _rooted(data: Any, folder: Path) -> Any:
    """``data`` with the files that secret references name below ``folder``, where they stand."""
    if isinstance(data, dict):
        secret = data.get("secret")
        if len(data) == 1 and isinstance(secret, str):
            return {"secret": rooted(secret, folder)}
        return {key: _rooted(one, folder) for key, one in data.items()}
    return [_rooted(one, folder) for one in data] if isinstance(data, list) else data


def resolve_inputs(document: Document, given: Mapping[str, Any], environ: Mapping[str, str] = MappingProxyType({}),
                   schemes: Collection[str] = SCHEMES) -> dict[str, Any]:
    """The typed value of each input of a plan: from ``given`` (`parse_extra`), else ``environ``, else its default.

    An input without any of them is None if it is not required. Secrets, given by reference, become markers. Raises
    `SourceError` with all that is missing, unknown or does not fit.
    """
    values, wrong = examine_inputs(document, given, environ, schemes)
    if wrong:
        raise SourceError(wrong)
    return values


def examine_inputs(
    document: Document, given: Mapping[str, Any], environ: Mapping[str, str] = MappingProxyType({}),
    schemes: Collection[str] = SCHEMES,
) -> tuple[dict[str, Any], list[Diagnostic]]:
    """As `resolve_inputs`, with what is wrong beside the values; `MISTAKEN` stands for those that it leaves open."""
    wrong: list[Diagnostic] = []
    for name in given:
        if name not in document.inputs and not document.doubts & {"inputs", f"inputs.{name}"}:
            hint = did_you_mean(name, document.inputs)
            known = ", ".join(document.inputs) or "none"
            wrong.append(Diagnostic("unknown-input", f"the plan has no input '{name}'",
                                    hint=hint or f"its inputs: {known}"))
    values: dict[str, Any] = {}
    for name, declared in document.inputs.items():
        if f"inputs.{name}" in document.doubts:
            values[name] = MISTAKEN
            continue
        try:
            values[name] = _found(name, declared, given, environ, schemes)
        except _Missing as error:
            values[name] = MISTAKEN
            wrong.append(_diagnostic(declared, "missing-input", error.args[0], error.args[1]))
        except ValueError as error:
            values[name] = MISTAKEN
            wrong.append(_diagnostic(declared, "input", f"the input '{name}' does not fit: {error}", None))
    return values, wrong


def _found(name: str, declared: Input, given: Mapping[str, Any], environ: Mapping[str, str],
           schemes: Collection[str]) -> Any:
    variable = PREFIX + name.upper().replace("-", "_")
    if name in given:
        return given[name] if given[name] is MISTAKEN else _value(declared, given[name], schemes)
    if variable in environ:
        return _value(declared, environ[variable], schemes)
    if declared.default is not None:
        return _value(declared, declared.default, schemes)
    if not declared.required:
        return None
    what = f": {declared.description}" if declared.description else ""
    raise _Missing(f"the input '{name}' is missing{what}", f"give it with -e {name}=… or {variable}")


class _Missing(Exception):
    pass


def _diagnostic(declared: Input, code: str, message: str, hint: str | None) -> Diagnostic:
    at = declared.origin.at(key=True)
    return Diagnostic(code, message, at, declared.origin.line(at), hint)


def _value(declared: Input, given: Any, schemes: Collection[str]) -> Any:
    if isinstance(given, Mapping) and set(given) == {"secret"} and isinstance(given["secret"], str):
        return marker(_reference(given["secret"], schemes))
    if declared.secret:
        if not isinstance(given, str):
            raise ValueError("a secret is given by reference: env:NAME or file:PATH")
        return given if has_marker(given) else marker(_reference(given, schemes))
    value = typed(declared.type, given)
    if declared.choices is not None and value not in [typed(declared.type, one) for one in declared.choices]:
        raise ValueError(f"{given!r} is not one of {', '.join(map(str, declared.choices))}")
    if declared.pattern is not None and not re.fullmatch(declared.pattern, str(value)):
        raise ValueError(f"{given!r} does not fit the pattern {declared.pattern}")
    return value


def _reference(text: str, schemes: Collection[str]) -> str:
    scheme, colon, rest = text.partition(":")
    if not colon or not rest or scheme not in schemes:
        raise ValueError("it is secret, so it is given by reference, env:NAME or file:PATH: other users of this "
                         "machine can read a command line")
    return text


def typed(kind: str, value: Any) -> Any:
    """``value``, text or data, as the input type ``kind``; raises ValueError with what would be right."""
    return _TYPED[kind](value)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{value!r} is not text")


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch("[-+]?[0-9]{1,1000}", value.strip()):
        return int(value)
    raise ValueError(f"{value!r} is not a whole number")


def _number(value: Any) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,300}(\.[0-9]{1,300})?", value.strip()):
        return float(value) if "." in value else int(value)
    raise ValueError(f"{value!r} is not a number")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"{value!r} is neither true nor false")


def _duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    return Duration.parse(value if isinstance(value, str) else str(value))


def _size(value: Any) -> Size:
    if isinstance(value, Size):
        return value
    return Size.parse(value if isinstance(value, str) else str(value))


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return _list(_flow(value))
        return [part.strip() for part in value.split(",")] if value.strip() else []
    raise ValueError(f"{value!r} is not a list")


def _map(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return _map(_flow(value))
    raise ValueError(f"{value!r} is not a mapping; write it as {json.dumps({'name': 'value'})}")


def _flow(value: str) -> Any:
    try:
        return load_yaml(value, "-e")[0]
    except SourceError as error:
        raise ValueError(error.diagnostics[0].message) from None


_TYPED: Mapping[str, Callable[[Any], Any]] = {
    "string": _string, "integer": _integer, "number": _number, "boolean": _boolean, "duration": _duration,
    "size": _size, "list": _list, "map": _map,
}


