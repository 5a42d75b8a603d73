"""The stores that the conformance suite runs on. A new store adds itself to `PLACES`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ultraplan.journal.base import Store
from ultraplan.journal.stores import open_store

Place = Callable[[], Store]
"""Opens the same store again and again, as separate processes would."""


def _sqlite(folder: Path) -> Place:
    return lambda: open_store(folder / "state" / "journal.sqlite")


PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": _sqlite}
"""From a store's kind to what makes a fresh, empty place for it below a folder."""
