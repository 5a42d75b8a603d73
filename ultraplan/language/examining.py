"""What texts use and what is wrong with them, without running them.

Most texts of plans are names in braces and nothing more (``{{ inputs.version }}``): those are read here. Anything else
is read by Jinja's parser, which this module imports only then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

Reference = tuple[str, ...]
"""A dotted path of names."""

Kind = Literal["value", "file", "bare"]
"""What a text is: a template in a plan, a template file (which may have comments), an expression without braces."""


class ExpressionError(Exception):
    """An expression that cannot be evaluated. ``path`` leads to it in the value that was rendered; ``line`` (from 1) is
    its line in the text, where that is known; ``hint`` is what was probably meant."""

    def __init__(self, message: str, *, path: tuple[str | int, ...] = (), line: int | None = None,
                 hint: str | None = None) -> None:
        self.reason = message
        self.path = path
        self.line = line
        self.hint = hint
        super().__init__(f"{message}; {hint}" if hint else message)


class Examined(NamedTuple):
    """What is known of a text without running it. ``names``: those it uses; ``asked``: those whose absence it provides
    for; none where its syntax is wrong. ``error``: why it cannot be compiled, or what it uses that there is not."""

    names: frozenset[Reference]
    asked: frozenset[Reference]
    error: ExpressionError | None


class Fault(NamedTuple):
    """A syntax error of an expression: the path to its text in the value, what is wrong, and the line and column
    (from 1) in that text."""

    path: tuple[str | int, ...]
    message: str
    line: int
    column: int


TAGS = re.compile(r"\{\{|\{%")
"""What begins an expression or a statement."""

_NOTHING: frozenset[Reference] = frozenset()
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DOTTED = rf"{_NAME}(?:\.{_NAME})*"
_BARE = re.compile(rf"[ ]*({_DOTTED})[ ]*")
_PLAIN = re.compile(rf"[^{{}}\r]*(?:\{{\{{ *{_DOTTED} *\}}\}}[^{{}}\r]*)*")
_EACH = re.compile(rf"\{{\{{ *({_DOTTED}) *\}}\}}")
_WORDS = frozenset({"not", "and", "or", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None",
                    "range", "dict", "namespace", "cycler", "joiner", "self", "super", "loop", "caller", "recursive"})
"""Roots that Jinja reads as something else than a name, or may."""

_NUMBER = re.compile(r"(?<![\w.])[0-9]{1,9}(?![\w.])")
"""A whole number, which is no part of a name or of another number."""

_BRACES = re.compile(r"\s*\{\{(.*)\}\}\s*", re.DOTALL)


@lru_cache(maxsize=65536)
def examined(text: str, kind: Kind) -> Examined:
    """What ``text`` uses, and what is wrong with it."""
    dotted: list[str] = []
    if kind == "bare":
        found = _BARE.fullmatch(text)
        plain = found is not None
        dotted = [found[1]] if found is not None else []
    else:
        plain = _PLAIN.fullmatch(text) is not None
        dotted = _EACH.findall(text) if plain else []
    paths = [tuple(one.split(".")) for one in dotted]
    if plain and not any(path[0] in _WORDS for path in paths):
        return Examined(frozenset(paths), _NOTHING, None)
    from ultraplan.language.compiling import parsed

    shape = text if "[" in text else _NUMBER.sub("1", text)
    if shape != text and (known := examined(shape, kind)).error is None:
        return known  # whole numbers change neither names nor grammar, and generated plans differ in little else
    return parsed(text, kind)


def unbraced(text: str) -> str:
    """``text``, an expression, without the braces that one may put around all of it."""
    found = _BRACES.fullmatch(text)
    return found[1] if found and "{{" not in found[1] and "}}" not in found[1] else text


def references(value: Any, *, bare: bool = False, needed: bool = False) -> frozenset[Reference]:
    """The dotted paths of names that the templates in ``value`` use: ``("steps", "a", "outputs", "x")``.

    Names that a template binds itself (loops, set, macros) are not among them. ``bare``: the texts in ``value`` are
    expressions without braces. ``needed``: only those whose absence the text does not provide for (`default`,
    `is defined`). Texts with syntax errors have none.
    """
    found: set[Reference] = set()
    for _, text in _texts(value, bare):
        known = examined(unbraced(text), "bare") if bare else examined(text, "value")
        asked = known.asked if needed else _NOTHING
        found |= {path for path in known.names if not any(path[: len(one)] == one for one in asked)}
    return frozenset(found)


def check(value: Any, *, bare: bool = False) -> list[Fault]:
    """The syntax errors of the templates in ``value``, unknown filters and tests among them. ``bare`` as in
    `references`."""
    return [fault for path, text in _texts(value, bare) for fault in _faults(path, text, "bare" if bare else "value")]


def check_file(text: str) -> list[Fault]:
    """The syntax errors of a template file's text, unknown filters and tests among them."""
    return list(_faults((), text, "file"))


def _texts(value: Any, bare: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, str):
            if bare or TAGS.search(one):
                yield path, one
        elif isinstance(one, Mapping):
            if not (len(one) == 1 and isinstance(one.get("secret"), str)):
                todo.extend(((*path, key), item) for key, item in one.items())
        elif isinstance(one, list | tuple):
            todo.extend(((*path, index), item) for index, item in enumerate(one))


_PIECE = re.compile(r"\{\{[-+]?(.*?)[-+]?\}\}", re.DOTALL)


def _faults(path: tuple[str | int, ...], text: str, kind: Kind) -> Iterator[Fault]:
    """What is wrong in ``text``: each expression that is wrong by itself, else the whole at its first tag."""
    whole = examined(unbraced(text) if kind == "bare" else text, kind).error
    if whole is None:
        return
    seen = _NOT_READ.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text) if kind == "file" else text
    alone = False
    for piece in () if kind == "bare" else _PIECE.finditer(seen):
        if (error := examined(piece[1], "bare").error) is not None:
            alone = True
            yield Fault(path, str(error), *_place(text, piece.start()))
    if not alone:
        above = [] if kind == "bare" else text.splitlines(keepends=True)[: (whole.line or 1) - 1]
        offset = sum(map(len, above))
        tag = None if kind == "bare" else TAGS.search(text, offset) or TAGS.search(text)
        yield Fault(path, str(whole), *_place(text, tag.start() if tag else 0))


_NOT_READ = re.compile(r"\{#.*?#\}|\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
"""Comments and raw text of template files."""


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
