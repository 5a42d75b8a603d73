"""Editing a text by lines, as Ansible's ``lineinfile`` and ``blockinfile`` document it. Pure: text to text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BEGINNING, END = "BOF", "EOF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something new goes: after or before the last line that matches (with ``first`` the first), BOF or EOF."""

    after: str | None = None
    before: str | None = None
    first: bool = False

    def index(self, lines: Sequence[str]) -> int | None:
        """The index to insert at; None where the place names an expression that matches nothing."""
        if self.before is not None:
            return 0 if self.before == BEGINNING else self._match(lines, self.before)
        if self.after is None or self.after == END:
            return len(lines)
        if self.after == BEGINNING:
            return 0
        found = self._match(lines, self.after)
        return None if found is None else found + 1

    def _match(self, lines: Sequence[str], expression: str) -> int | None:
        found = [index for index, line in enumerate(lines) if re.search(expression, bare(line))]
        return None if not found else found[0] if self.first else found[-1]


def split(text: str) -> list[str]:
    """The lines of ``text`` with their ends; only a newline ends a line."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def bare(line: str) -> str:
    """``line`` without its end."""
    return line.rstrip("\r\n")


def put_line(
    text: str, line: str, expression: str | None, place: Place, *, backrefs: bool = False,
) -> str:
    """``text`` with ``line`` in it: in place of the last line that ``expression`` matches (the first, with
    ``place.first``); else, unless it stands there already, at ``place``. With ``backrefs`` groups of the match are
    filled in, and nothing happens without a match. Raises re.error for a bad expression or group."""
    lines = split(text)
    end = "\r\n" if lines and all(each.endswith("\r\n") for each in lines) else "\n"
    found: tuple[int, re.Match[str]] | None = None
    if expression is not None:
        for number, each in enumerate(lines):
            match = re.search(expression, bare(each))
            if match is not None:
                found = number, match
                if place.first:
                    break
    if found is not None:
        number, match = found
        new = match.expand(line) if backrefs else line
        if bare(lines[number]) != new:
            lines[number] = new + (lines[number][len(bare(lines[number])):] or end)
        return "".join(lines)
    if backrefs or any(bare(each) == line for each in lines):
        return text
    index = place.index(lines)
    index = len(lines) if index is None else index
    _insert(lines, index, [line + end], end)
    return "".join(lines)


def drop_lines(text: str, line: str | None, expression: str | None) -> str:
    """``text`` without the lines that ``expression`` matches, or, without one, that are ``line``."""
    def goes(each: str) -> bool:
        return re.search(expression, bare(each)) is not None if expression is not None else bare(each) == line

    return "".join(each for each in split(text) if not goes(each))


def put_block(text: str, block: str, begin: str, end: str, place: Place) -> str:
    """``text`` with ``block`` between the lines ``begin`` and ``end``: where these stand, else at ``place``. An empty
    block takes them away."""
    lines = split(text)
    stop = "\r\n" if lines and all(each.endswith("\r\n") for each in lines) else "\n"
    new = [f"{each}{stop}" for each in (begin, *map(bare, split(block)), end)] if block else []
    starts = [number for number, each in enumerate(lines) if bare(each) == begin]
    ends = [number for number, each in enumerate(lines) if bare(each) == end]
    if starts and ends:
        low, high = sorted((starts[-1], ends[-1]))
        lines[low: high + 1] = []
        index: int | None = low
    elif not new:
        return text
    else:
        index = place.index(lines)
    _insert(lines, len(lines) if index is None else index, new, stop)
    return "".join(lines)


def _insert(lines: list[str], index: int, new: list[str], end: str) -> None:
    if new and index > 0 and not lines[index - 1].endswith("\n"):
        lines[index - 1] += end
    lines[index:index] = new
