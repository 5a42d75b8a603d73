"""YAML text to plain data, and back from any value to the line and column where it stands.

The text is read as events of PyYAML's safe parser (libyaml where it is built in), never as Python objects, and
scalars get the types of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): only ``true`` and
``false`` are booleans, ``0640`` is the decimal 640, dates stay text. Merge keys (``<<``) are kept from 1.1.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ultraplan.language.errors import Diagnostic, Position, SourceError

MAX_DEPTH = 100
"""How deep mappings and lists may nest."""

MAX_ALIASED = 100_000
"""How many values aliases may add to a file."""

Path_ = tuple[str | int, ...]

LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What YAML takes for the end of a line."""

class Span:
    """Where one node stands: from ``line``/``column`` to ``end_line``/``end_column``, all counted from 0.

    ``style`` is the scalar's quote or block sign, or empty. ``children``: for a list its items; for a mapping, by
    key, the spans of key and value.
    """

    __slots__ = ("children", "column", "end_column", "end_line", "line", "style")

    def __init__(self, start: Any, end: Any, style: str = "") -> None:
        self.line: int = start.line
        self.column: int = start.column
        self.end_line: int = end.line
        self.end_column: int = end.column
        self.style = style
        self.children: list[Span] | dict[Any, tuple[Span, Span]] | None = None

    def position(self, file: str) -> Position:
        """The span's start, with its length where it is a scalar on one line."""
        one_line = self.children is None and self.end_line == self.line
        length = max(1, self.end_column - self.column) if one_line else 1
        return Position(file, self.line + 1, self.column + 1, length)


class SourceMap:
    """A file's text and where each of its values stands."""

    __slots__ = ("__dict__", "_root", "file", "text")

    def __init__(self, file: str, text: str, root: Span | None = None) -> None:
        self.file = file
        self.text = text
        self._root = root

    @cached_property
    def _lines(self) -> list[str]:
        return LINE_END.split(self.text)

    def __repr__(self) -> str:
        return f"SourceMap({self.file!r})"

    def line(self, number: int) -> str:
        """Line ``number`` (from 1) without its end; empty where there is none."""
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def at(self, path: Path_, key: bool = False) -> Position:
        """The position of the value (or, with ``key``, of its key) at ``path``; of its nearest parent where the
        text does not have it."""
        return self._span(path, key).position(self.file)

    def within(self, path: Path_, line: int, column: int) -> Position:
        """The position of a character of the scalar at ``path``; ``line`` and ``column`` (from 1) are its value's.

        Exact for plain, quoted one-line and literal scalars; the scalar's start where text is folded or escaped.
        """
        span = self._span(path, False)
        start = span.position(self.file)
        value = self._value_line(span, line)
        if value is None:
            return start
        row, at = value
        if at + column - 1 > len(self.line(row + 1)):
            return start
        return Position(self.file, row + 1, at + column, 1)

    def _value_line(self, span: Span, line: int) -> tuple[int, int] | None:
        """The row (from 0) and column where line ``line`` of the value begins, or None where that is not simple."""
        if span.children is not None:
            return None
        if span.style == "|":
            rows = range(span.line + 1, max(span.end_line, span.line + 2))
            text = next((self.line(row + 1) for row in rows if self.line(row + 1).strip()), None)
            if text is None:
                return None
            return span.line + line, len(text) - len(text.lstrip(" "))
        if span.line != span.end_line or line != 1:
            return None
        quoted = span.style in ("'", '"')
        inside = self.line(span.line + 1)[span.column : span.end_column]
        if (span.style == '"' and "\\" in inside) or (span.style == "'" and "''" in inside):
            return None
        return span.line, span.column + quoted

    def _span(self, path: Path_, key: bool) -> Span:
        span = self._root
        if span is None:
            return _START
        for depth, part in enumerate(path):
            children = span.children
            if isinstance(children, dict) and part in children:
                key_span, span = children[part]
                if key and depth == len(path) - 1:
                    return key_span
            elif isinstance(children, list) and isinstance(part, int) and 0 <= part < len(children):
                span = children[part]
            else:
                break
        return span


class PlainText(SourceMap):
    """A file that is text and nothing else (a template)."""

    __slots__ = ()

    def within(self, path: Path_, line: int, column: int) -> Position:
        """The position of a character of the text."""
        return Position(self.file, line, column, 1)


def decode(data: bytes, file: str) -> str:
    """``data`` as text; raises `SourceError` where it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        rows = LINE_END.split(before)
        raise SourceError([Diagnostic(
            "not-utf-8", f"the byte 0x{data[error.start]:02x} is not UTF-8 text",
            Position(file, len(rows), len(rows[-1]) + 1), None, "save the file as UTF-8")]) from None


def read_source(path: str | Path) -> str:
    """The text of the file at ``path``; raises `SourceError` where it cannot be read or is not UTF-8."""
    try:
        return decode(Path(path).read_bytes(), str(path))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    except ValueError:
        why = "no file can have that name"
    raise SourceError([Diagnostic("unreadable", f"cannot read {path}: {why}")])


class Read(NamedTuple):
    """What was read of a text. ``data``: None where it writes nothing, or where ``mistakes`` leave nothing of it."""

    data: Any
    source: SourceMap
    mistakes: list[Diagnostic]


def load_yaml(text: str, file: str) -> tuple[Any, SourceMap]:
    """The data that ``text`` writes (None where it writes nothing) and its source map.

    ``file`` is the name that positions carry. Mapping keys are strings. Values that aliases repeat are shared, so
    treat the data as immutable. Raises `SourceError` with every mistake that was found.
    """
    data, source, mistakes = read_yaml(text, file)
    if mistakes:
        raise SourceError(mistakes)
    return data, source


def read_yaml(text: str, file: str) -> Read:
    """As `load_yaml`, with the mistakes beside what could be read in spite of them."""
    from ultraplan.language.compose import Composer

    return Composer(text.removeprefix("\ufeff"), file).compose()


class _Mark:
    line = column = 0


_START = Span(_Mark, _Mark)
