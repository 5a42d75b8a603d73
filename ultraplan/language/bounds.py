"""What one evaluation of an expression or template may cost. Templates come from a plan's authors, but what they work
on may come from anywhere, so no input can make them eat the controller's memory or never end."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from jinja2.exceptions import SecurityError

MAX_TEXT = 16_000_000
"""How many characters a value, or all that a template prints, may have."""

MAX_ITEMS = 250_000
"""How many values a list or mapping may hold, those inside included."""

MAX_TURNS = 250_000
"""How many turns of loops and calls of macros and methods one evaluation may make."""

MAX_BITS = 4096
"""How large an integer may become."""


_WIDE = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*?(?:\*|\d{5})")


class _State(threading.local):
    turns = 0
    printed = 0
    depth = 0


_state = _State()


@contextmanager
def budget() -> Iterator[None]:
    """One evaluation. Evaluations inside it (variables that it uses) draw on the same budget."""
    if _state.depth == 0:
        _state.turns = _state.printed = 0
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1


def turn() -> None:
    """Count one turn of a loop or one call."""
    _state.turns += 1
    if _state.turns > MAX_TURNS:
        raise SecurityError(f"it makes more than {MAX_TURNS:,} turns of loops and calls")


def printed(text: str) -> str:
    """``text``, counted as printed."""
    _state.printed += len(text)
    if _state.printed > MAX_TEXT:
        raise SecurityError(f"it prints more than {MAX_TEXT:,} characters")
    return text


def counted(values: Iterable[Any]) -> Iterator[Any]:
    """``values``, each counted as a turn."""
    for value in values:
        turn()
        yield value


def text_of(length: int) -> None:
    """Refuse a text of ``length`` characters if that is too much."""
    if length > MAX_TEXT:
        raise SecurityError(f"it makes a text of more than {MAX_TEXT:,} characters")


def measured(value: Any, look: Callable[[Any], None] | None = None) -> Any:
    """``value``, which is refused if it is too large; ``look`` is called with each value in it."""
    kind = type(value)
    if kind is bool or value is None:
        return value
    items = size = 0
    todo = [value]
    while todo:
        one = todo.pop()
        items += 1
        if look is not None:
            look(one)
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, int):
            _bits(one.bit_length())
        elif isinstance(one, dict):
            todo.extend(one.values())
            todo.extend(one.keys())
        elif isinstance(one, list | tuple | set | frozenset):
            todo.extend(one)
        if items + len(todo) > MAX_ITEMS:
            raise SecurityError(f"it makes more than {MAX_ITEMS:,} values")
        text_of(size)
    return value


def _bits(count: int) -> None:
    if count > MAX_BITS:
        raise SecurityError(f"it makes an integer of more than {MAX_BITS} bits")


def arithmetic(operator: str, left: Any, right: Any) -> None:
    """Refuse ``left operator right`` where its result would be too large; called before it is computed."""
    if operator == "+":
        if isinstance(left, str) and isinstance(right, str):
            text_of(len(left) + len(right))
        elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
            _items(len(left) + len(right))
    elif operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(times, int) and isinstance(many, str | bytes):
                text_of(len(many) * times)
            elif isinstance(times, int) and isinstance(many, list | tuple):
                _items(len(many) * times)
        if isinstance(left, int) and isinstance(right, int):
            _bits(left.bit_length() + right.bit_length())
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _bits(left.bit_length() * max(0, right))
    elif operator == "%" and isinstance(left, str):
        template(left)


def _items(count: int) -> None:
    if count > MAX_ITEMS:
        raise SecurityError(f"it makes more than {MAX_ITEMS:,} values")


def template(text: str) -> None:
    """Refuse a printf-style ``text`` that pads to a great width, or to one that an argument gives."""
    if _WIDE.search(text):
        raise SecurityError("a format may pad to 9999 characters at most, by a width that stands in it")


def replacement(text: str, old: str, new: str) -> None:
    """Refuse to replace ``old`` by ``new`` in ``text`` where the result would be too large."""
    text_of(len(text) + (len(text) + 1 if not old else text.count(old)) * max(0, len(new) - len(old)))


def joined(parts: Iterable[str], separator: str) -> None:
    """Refuse to join ``parts`` where the result would be too large."""
    text_of(sum(len(part) + len(separator) for part in parts))


