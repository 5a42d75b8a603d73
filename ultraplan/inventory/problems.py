"""Collects the mistakes of an inventory, so that all of them are told at once."""

from __future__ import annotations

from collections.abc import Iterable

from ultraplan.language.errors import Diagnostic, Position, SourceError


class Problems:
    """Mistakes found so far."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def add(self, code: str, message: str, at: Position | None = None, line: str | None = None,
            hint: str | None = None) -> None:
        """Note one mistake."""
        self._found.append(Diagnostic(code, message, at, line, hint))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Note those of a `SourceError`."""
        self._found.extend(diagnostics)

    def __len__(self) -> int:
        return len(self._found)

    def raise_any(self) -> None:
        """Raise `SourceError` where there is a mistake."""
        if self._found:
            raise SourceError(self._found)
