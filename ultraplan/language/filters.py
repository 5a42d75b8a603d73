"""The filters of expressions: Jinja's own that fit plans, and those that people know from Ansible."""

from __future__ import annotations

import base64
import binascii
import functools
import html
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import Undefined

from ultraplan.language import bounds
from ultraplan.language.unknown import Unknown
from ultraplan.language.values import Duration
from ultraplan.secrets import has_marker
from ultraplan.shell import join as join_words
from ultraplan.shell import quote

_LEFT_OUT = {"urlize", "xmlattr", "forceescape", "striptags", "safe", "random"}
"""Filters for web pages, and the one whose result a preview could not predict."""

_KEEP_SECRETS = {
    "default", "d", "quote", "to_json", "tojson", "to_yaml", "join", "string", "list", "first", "last", "unique",
    "trim", "indent", "items", "dictsort", "map", "select", "reject", "selectattr", "rejectattr", "attr", "batch",
    "slice", "_concat", "_turns", "_measured",
}
"""Filters that leave a secret's marker whole."""

_WIDTHS = {"center", "indent", "batch", "slice", "wordwrap", "truncate", "to_json", "tojson", "round"}
_WIDEST = 100_000


def text(value: Any) -> str:
    """``value`` as templates print it: text as it is, null as nothing, true and false in lower case, lists and
    mappings as JSON."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | Mapping):
        return to_json(value)
    return str(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON; the keys keep their order."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | int | float):
        raise TypeError(f"{value!r} cannot be written as JSON")
    if isinstance(value, Undefined | Unknown):
        str(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def to_yaml(value: Any) -> str:
    """``value`` as YAML in block style; the keys keep their order."""
    plain = json.loads(to_json(value))
    return str(yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, default_flow_style=False, width=4096))


def from_json(value: str) -> Any:
    """The value that the JSON text ``value`` writes."""
    return json.loads(value)


def shell_quote(value: Any) -> str:
    """``value`` as one shell word; a list as several."""
    if isinstance(value, list | tuple):
        return join_words(text(one) for one in value)
    return quote(text(value))


def b64encode(value: Any) -> str:
    """The base64 of ``value`` in UTF-8."""
    return base64.b64encode(text(value).encode()).decode()


def b64decode(value: str) -> str:
    """The UTF-8 text whose base64 ``value`` is."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("this is not the base64 of UTF-8 text") from None


def basename(value: str) -> str:
    """The last part of the path ``value``."""
    return posixpath.basename(value)


def dirname(value: str) -> str:
    """The path ``value`` without its last part."""
    return posixpath.dirname(value)


def regex_replace(value: Any, pattern: str, replacement: str = "", ignorecase: bool = False) -> str:
    """``value`` with each match of ``pattern`` replaced; ``\\\\1`` in ``replacement`` stands for a group."""
    subject, made = text(value), 0

    def one(match: re.Match[str]) -> str:
        nonlocal made
        found = match.expand(replacement) if "\\" in replacement else replacement
        made += len(found)
        bounds.text_of(made)
        return found

    return re.sub(pattern, one, subject, flags=re.IGNORECASE if ignorecase else 0)


def regex_search(value: Any, pattern: str, *groups: str, ignorecase: bool = False) -> Any:
    """The first match of ``pattern`` in ``value``, or None; with ``groups`` (``'\\\\1'``) the list of those."""
    match = re.search(pattern, text(value), flags=re.IGNORECASE if ignorecase else 0)
    if match is None:
        return None
    return [match[int(name) if name.isdigit() else name] for name in (g.strip("\\g<>") for g in groups)] or match[0]


def duration(value: Any) -> Duration:
    """``value`` (``15m``, or a number of seconds) as a duration in seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Duration(value)
    return Duration.parse(text(value))


def boolean(value: Any) -> bool:
    """``value`` as true or false: booleans, 1 and 0, and the words yes, no, true, false, on, off."""
    word = text(value).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0", ""):
        return False
    raise ValueError(f"{word!r} is neither true nor false")


def join(value: Iterable[Any], separator: str = "", attribute: str | int | None = None) -> str:
    """The items of ``value`` (or their ``attribute``) as texts, with ``separator`` between them."""
    items = value if attribute is None else [one[attribute] for one in value]
    parts = [text(one) for one in bounds.counted(items)]
    bounds.joined(parts, separator)
    return separator.join(parts)


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    """``value`` with ``old`` replaced by ``new``, ``count`` times at most."""
    subject = text(value)
    bounds.replacement(subject, old, new)
    return subject.replace(old, new, count)


def printf(value: str, *args: Any, **kwargs: Any) -> str:
    """``value`` as a printf-style format of the arguments."""
    bounds.template(value)
    return str(value % (kwargs or args))


def _concat(values: list[Any]) -> str:
    parts = [text(bounds.measured(one, known)) for one in values]
    bounds.joined(parts, "")
    return "".join(parts)


def _same(value: Any) -> Any:
    return value


def escape(value: Any) -> str:
    """``value`` with the characters that HTML and XML reserve written as entities."""
    return html.escape(text(value))


_OURS: dict[str, Callable[..., Any]] = {
    "quote": shell_quote, "b64encode": b64encode, "b64decode": b64decode, "to_json": to_json, "tojson": to_json,
    "to_yaml": to_yaml, "from_json": from_json, "basename": basename, "dirname": dirname, "bool": boolean,
    "regex_replace": regex_replace, "regex_search": regex_search, "duration": duration, "string": text,
    "join": join, "replace": replace, "format": printf, "escape": escape, "e": escape,
    "_concat": _concat, "_turns": bounds.counted, "_measured": _same, "_sliced": _same,
}


def known(value: Any) -> None:
    """Raise `UnknownValue` where ``value`` is `Unknown`."""
    if isinstance(value, Unknown):
        value.fail()


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, a filter or test, that refuses unknown values, secrets it would break, and huge work."""
    skipped = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        values = args[skipped:]
        for one in (*values, *kwargs.values()):
            bounds.measured(one, known)
        if values and isinstance(values[0], str) and name not in _KEEP_SECRETS and has_marker(values[0]):
            raise SecurityError(f"a secret's value is not known here, so '{name.strip('_')}' cannot work on it")
        if name in _WIDTHS:
            for one in (*values[1:], *kwargs.values()):
                if isinstance(one, int) and one > _WIDEST:
                    raise SecurityError(f"{one:,} is more than '{name}' can take")
        result = function(*args, **kwargs)
        return bounds.measured(result, known)

    return call


def all_filters() -> dict[str, Callable[..., Any]]:
    """Every filter of expressions by name."""
    chosen = {name: one for name, one in FILTERS.items() if name not in _LEFT_OUT} | _OURS
    return {name: guarded(name, one) for name, one in chosen.items()}
