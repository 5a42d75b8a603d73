"""Where something stands in a source file, what is wrong with it, and how that is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    length: int = field(default=1, compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: what, where, and what was probably meant. ``code`` is stable and documented (``unknown-key``)."""

    code: str
    message: str
    at: Position | None = None
    line: str | None = None
    hint: str | None = None
    severity: str = "error"

    def render(self) -> str:
        """The diagnostic for people: ``file:line:column: message``, the line with a caret below, the hint."""
        head = f"{self.at}: {self.severity}: {self.message}" if self.at else f"{self.severity}: {self.message}"
        rows = [head]
        if self.line is not None and self.at is not None:
            number = str(self.at.line)
            before = "".join("\t" if c == "\t" else " " for c in self.line[: self.at.column - 1])
            room = max(1, len(self.line) - self.at.column + 1)
            rows += [f"  {number} | {self.line}",
                     f"  {' ' * len(number)} | {before}{'^' * max(1, min(self.at.length, room))}"]
        if self.hint:
            rows.append(f"  = {self.hint}")
        return "\n".join(rows)


class SourceError(Exception):
    """Static mistakes, all that were found, in file order. Nothing was touched."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: Sequence[Diagnostic] = sorted(
            set(diagnostics), key=lambda d: (d.at is None, d.at or Position("", 0, 0), d.message))
        super().__init__("\n".join(d.render() for d in self.diagnostics))


def without_echoes(*findings: Iterable[Diagnostic]) -> list[Diagnostic]:
    """All of ``findings``, where those that know better come first: of what others say of a place that one of them has
    spoken of, nothing."""
    found: list[Diagnostic] = []
    for more in findings:
        said = {one.at for one in found if one.at is not None}
        found += [one for one in more if one.at not in said]
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """``did you mean 'x'?`` for the closest of ``known``, or None where nothing is close."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else None
