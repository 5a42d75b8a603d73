"""Expressions and templates: rendering values, deciding conditions, and saying which names they use.

The language is Jinja2's (https://jinja.palletsprojects.com/en/stable/templates/), sandboxed, strict about undefined
names and bounded in cost. A text that is exactly one ``{{ expression }}`` gives the expression's value with its type;
any other template gives text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined

from ultraplan.language import bounds
from ultraplan.language.compiling import RESULT, Code, expression, template
from ultraplan.language.errors import did_you_mean
from ultraplan.language.examining import TAGS, ExpressionError, unbraced
from ultraplan.language.filters import known
from ultraplan.language.sandbox import environment
from ultraplan.language.unknown import Unknown, UnknownValue
from ultraplan.secrets import marker

__all__ = ["ExpressionError", "Unknown", "UnknownValue", "Variables", "evaluate", "render", "render_text", "truth"]

_CANNOT = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError, re.error)
"""What an expression raises when it is applied to values that it was not made for."""

_MAX_DEPTH = 100


def render(value: Any, names: Mapping[str, Any]) -> Any:
    """``value`` with every template in it, at any depth, rendered; mapping keys stay as they are.

    ``{secret: REF}`` becomes the secret's marker. Raises `ExpressionError`, and `UnknownValue` where a value is used
    that only a step's run can give.
    """
    with bounds.budget():
        return _render(value, names, ())


def render_text(text: str, names: Mapping[str, Any], name: str) -> str:
    """The template file ``text`` rendered; ``name`` is the file's name in errors, which carry the template's line."""
    if not (TAGS.search(text) or "{#" in text):
        return text
    try:
        with bounds.budget():
            return _printed(template(text, True), names)
    except ExpressionError as error:
        where = f"{name}:{error.line}" if error.line else name
        raise ExpressionError(f"{where}: {error.reason}", line=error.line, hint=error.hint) from None


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """The value of the expression ``text``, without braces (one pair around it is allowed). Raises as `render`."""
    with bounds.budget():
        return _value(expression(unbraced(text)), names)


def truth(text: str, names: Mapping[str, Any]) -> bool:
    """Whether the condition ``text`` holds. Raises as `render`, and where the value is not a boolean."""
    value = evaluate(text, names)
    if not isinstance(value, bool):
        raise ExpressionError(
            f"the condition {text!r} gives {_told(value)}, not true or false",
            hint="compare it (== …), or say what counts: | bool, | length > 0, is defined")
    return value


class Variables(Mapping[str, Any]):
    """Variables that are rendered when they are used. Of ``layers`` the later win; ``names`` are the other names that
    their templates may use (``vars`` is this mapping itself).

    ``inventory``: variables weaker than all layers, whose templates see every variable by its bare name, as Ansible has
    it, and ``magic`` names before those. Raises `ExpressionError` where variables need each other in a circle.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], names: Mapping[str, Any], *,
                 inventory: Mapping[str, Any] = MappingProxyType({}), magic: Mapping[str, Any] = MappingProxyType({}),
                 ) -> None:
        self._raw: dict[str, Any] = {}
        for layer in layers:
            self._raw.update(layer)
        self._inventory = inventory
        self._names = {**names, "vars": self}
        self._bare = _Chain(magic, self, self._names)
        self._rendered: dict[str, Any] = {}
        self._chain: list[str] = []
        self._lock = threading.RLock()

    def __getitem__(self, name: str) -> Any:
        own = name in self._raw
        raw = self._raw[name] if own else self._inventory[name]
        with self._lock:
            if name in self._rendered:
                return self._rendered[name]
            if name in self._chain:
                circle = " → ".join([*self._chain[self._chain.index(name):], name])
                raise ExpressionError(f"these variables need each other: {circle}")
            self._chain.append(name)
            try:
                value = render(raw, self._names if own else self._bare)
            except ExpressionError as error:
                if len(self._chain) > 1 or error.reason.startswith(("these variables", "in vars.")):
                    raise
                raise ExpressionError(f"in vars.{name}: {error.reason}", hint=error.hint) from None
            finally:
                self._chain.pop()
            self._rendered[name] = value
            return value

    def __iter__(self) -> Iterator[str]:
        yield from self._inventory
        yield from (name for name in self._raw if name not in self._inventory)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._raw or name in self._inventory

    def __repr__(self) -> str:
        return f"Variables({', '.join(self)})"


class _Chain(Mapping[str, Any]):
    """Mappings one after the other, of which the first that has a name gives its value."""

    def __init__(self, *mappings: Mapping[str, Any]) -> None:
        self._mappings = mappings

    def __getitem__(self, name: str) -> Any:
        for mapping in self._mappings:
            if name in mapping:
                return mapping[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in mapping for mapping in self._mappings)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for mapping in self._mappings for name in mapping))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _render(value: Any, names: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
    if isinstance(value, str):
        if TAGS.search(value) is None:
            return value
        try:
            code = template(value, False)
            return _value(code, names) if code.whole else _printed(code, names)
        except ExpressionError as error:
            raise ExpressionError(error.reason, path=path, line=error.line, hint=error.hint) from None
    if isinstance(value, Mapping):
        reference = value.get("secret")
        if len(value) == 1 and isinstance(reference, str):
            return marker(reference)
        return {key: _render(one, names, (*path, key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_render(one, names, (*path, index)) for index, one in enumerate(value)]
    known(value)
    return value


def _printed(code: Code, names: Mapping[str, Any]) -> str:
    context = code.template.new_context({name: names[name] for name in code.roots if name in names})
    with _explained(code, names):
        if code.whole:
            for _ in code.template.root_render_func(context):
                pass
            return environment().finalize(context.vars[RESULT])  # type: ignore[misc,no-any-return]
        return "".join(code.template.root_render_func(context))


def _value(code: Code, names: Mapping[str, Any]) -> Any:
    context = code.template.new_context({name: names[name] for name in code.roots if name in names})
    with _explained(code, names):
        for _ in code.template.root_render_func(context):
            pass
        return _data(context.vars[RESULT], 0)


def _data(value: Any, depth: int) -> Any:
    """``value`` as plain data, whatever the expression made of it."""
    if value is None or isinstance(value, str | int | float):
        return bounds.measured(value)
    known(value)
    if isinstance(value, Undefined):
        str(value)  # raises, and says what is not defined
    bounds.turn()
    if depth > _MAX_DEPTH:
        raise SecurityError(f"it makes a value more than {_MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {key: _data(one, depth + 1) for key, one in value.items()}
    if isinstance(value, Iterable) and not callable(value) and not isinstance(value, bytes):
        return [_data(one, depth + 1) for one in value]
    raise TypeError(f"it gives a {type(value).__name__}, which is not a value")


class _explained:  # noqa: N801 - a context manager, used as a function is
    """Turns what evaluation raises into `ExpressionError`."""

    def __init__(self, code: Code, names: Mapping[str, Any]) -> None:
        self._code = code
        self._names = names

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, ExpressionError | UnknownValue):
            return
        line = None
        while trace is not None:
            if trace.tb_frame.f_globals.get("__jinja_template__") is not None:
                line = self._code.template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        if isinstance(error, UndefinedError):
            message, hint = _missing(self._code, self._names, str(error))
            raise ExpressionError(message, line=line, hint=hint) from None
        if isinstance(error, RecursionError):
            raise ExpressionError("it calls itself without end", line=line) from None
        if isinstance(error, (TemplateError, *_CANNOT)):
            raise ExpressionError(str(error) or type(error).__name__, line=line) from None


def _missing(code: Code, names: Mapping[str, Any], message: str) -> tuple[str, str | None]:
    """What is not defined, as the shortest path that leads nowhere, and what was probably meant."""
    for path in sorted(code.names):
        here: Any = names
        for depth, part in enumerate(path):
            if not isinstance(here, Mapping):
                break
            if part not in here:
                shown = ".".join(path[: depth + 1])
                if f"'{part}'" not in message:
                    break
                hint = did_you_mean(part, map(str, here))
                if depth == 0:
                    hint = next((f"did you mean '{space}.{part}'?" for space in ("vars", "inputs", "facts")
                                 if isinstance(names.get(space), Mapping) and part in names[space]), hint)
                return f"'{shown}' is not defined", hint
            try:
                here = here[part]
            except (ExpressionError, UnknownValue):
                break
    return message, None


def _told(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return "nothing" if value is None else f"a {type(value).__name__}"
