"""A table in columns, for people."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from ultraplan.cli.views.paint import visible


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows below the header, columns aligned. On a terminal that is too narrow the longest cells are cut, but never
    those of the first column: it holds what people copy."""
    from rich.cells import cell_len

    cells = [[visible(cell).replace("\t", " ") for cell in row] for row in [header, *rows]]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(header))]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    while room is not None and sum(widths) + 2 * (len(widths) - 1) > room and max(widths[1:]) > 4:
        widths[1 + widths[1:].index(max(widths[1:]))] -= 1
    return "\n".join("  ".join(_cell(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in cells)


def _cell(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        return f"{set_cell_size(text, width - 1)}…"
    return text + " " * (width - cell_len(text))
