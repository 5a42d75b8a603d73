"""Tables of results as text, Markdown, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from html import escape
from math import log10

from benchmarks.results import Cell, Table

FORMAT = 1
_Say = Callable[[Cell], str | None]

_MEASURES: tuple[tuple[str, _Say], ...] = (
    ("processor time here, seconds", lambda cell: f"{cell.cpu:.2f}"),
    ("processor time on the hosts, seconds", lambda cell: None if cell.hosts_cpu is None else f"{cell.hosts_cpu:.2f}"),
    ("memory here, MB", lambda cell: f"{cell.memory / 1e6:.0f}"),
)


def text(tables: Sequence[Table]) -> str:
    """For a terminal."""
    return _lines(tables, _plain, "")


def markdown(tables: Sequence[Table]) -> str:
    """For the documentation."""
    return _lines(tables, _pipes, "### ")


def as_json(tables: Sequence[Table]) -> str:
    """For programs: the medians, with how many runs and their spread, and ratios to ours."""
    document = {"format": FORMAT, "tables": [
        {**asdict(table), "ratios": {row: {column: table.ratio(row, column) for column in cells}
                                     for row, cells in table.rows.items()}} for table in tables]}
    return json.dumps(document, indent=1) + "\n"


def load(text: str) -> list[Table]:
    """The tables that `as_json` wrote. Raises ValueError for another format."""
    document = json.loads(text)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']} is not known here")
    tables = []
    for given in document["tables"]:
        del given["ratios"]
        rows = {row: {column: Cell(**{**cell, "spread": tuple(cell["spread"])}) for column, cell in cells.items()}
                for row, cells in given["rows"].items()}
        tables.append(Table(**{**given, "rows": rows}))
    return tables


def _lines(tables: Sequence[Table], draw: Callable[[list[list[str]]], list[str]], mark: str) -> str:
    lines: list[str] = []
    for table in tables:
        lines += [f"{mark}{table.title}", ""]
        if table.about:
            lines += [", ".join(f"{name}: {value}" for name, value in table.about.items()), ""]
        lines += draw(_grid(table, "seconds (times ours)", partial(_time, table)))
        for title, say in _MEASURES:
            grid = _grid(table, title, partial(_told, table, say))
            if any(word != "–" for words in grid[1:] for word in words[1:]):
                lines += ["", *draw(grid)]
        for note in table.notes:
            lines += ["", note]
        lines.append("")
    return "\n".join(lines)


def _told(table: Table, say: _Say, row: str, column: str) -> str | None:
    return say(table.rows[row][column])


def _time(table: Table, row: str, column: str) -> str:
    cell, ratio = table.rows[row][column], table.ratio(row, column)
    said = f"{cell.seconds:.2f}" if cell.rate is None else f"{cell.seconds:.2f}, {cell.rate / 1e6:.0f} MB/s"
    return said if ratio is None else f"{said} ({ratio:.2f}x)" if ratio < 10 else f"{said} ({ratio:.0f}x)"


def _grid(table: Table, title: str, say: Callable[[str, str], str | None]) -> list[list[str]]:
    grid = [[title, *table.columns.values()]]
    for row, cells in table.rows.items():
        grid.append([row, *((say(row, column) if column in cells else None) or "–" for column in table.columns)])
    return grid


def _plain(grid: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in grid) for at in range(len(grid[0]))]
    return ["  ".join(word.ljust(width) if at == 0 else word.rjust(width)
                      for at, (word, width) in enumerate(zip(row, widths, strict=True))) for row in grid]


def _pipes(grid: list[list[str]]) -> list[str]:
    rows = ["| " + " | ".join(row) + " |" for row in grid]
    return [rows[0], "|---" + "|---:" * (len(grid[0]) - 1) + "|", *rows[1:]]


# -- the picture: bars of seconds on a logarithmic scale

_COLOURS = ("#0b6e4f", "#52b788", "#6c757d", "#adb5bd", "#e9a03b", "#c8553d", "#7b2d26")
_LEFT, _BAR, _GAP, _WIDE = 250, 12, 14, 620


def svg(tables: Sequence[Table]) -> str:
    """The seconds of every row as bars, a tool a colour, each decade as long as the next."""
    out: list[str] = []
    y = 10
    for table in tables:
        seconds = [cell.seconds for cells in table.rows.values() for cell in cells.values()]
        if not seconds:
            continue
        low = min(log10(max(value, 1e-3)) for value in seconds) - 0.3
        scale = (_WIDE - 90) / (max(log10(max(value, 1e-3)) for value in seconds) - low)
        y += 22
        out.append(f'<text x="10" y="{y}" class="title">{escape(table.title)} (seconds, logarithmic)</text>')
        x = 10
        y += 20
        for at, label in enumerate(table.columns.values()):
            out.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{_COLOURS[at % len(_COLOURS)]}"/>'
                       f'<text x="{x + 14}" y="{y}">{escape(label)}</text>')
            x += 34 + 7 * len(label)
        y += 12
        for row, cells in table.rows.items():
            out.append(f'<text x="10" y="{y + 10}">{escape(row)}</text>')
            for at, column in enumerate(table.columns):
                if column in cells:
                    value = cells[column].seconds
                    wide = max(1.0, (log10(max(value, 1e-3)) - low) * scale)
                    out.append(f'<rect x="{_LEFT}" y="{y}" width="{wide:.1f}" height="{_BAR - 2}" '
                               f'fill="{_COLOURS[at % len(_COLOURS)]}"/>'
                               f'<text x="{_LEFT + wide + 4:.1f}" y="{y + 9}" class="value">{value:.2f}</text>')
                    y += _BAR
            y += _GAP
    style = "text{font:12px sans-serif;fill:#222}.title{font:bold 14px sans-serif}.value{font:10px sans-serif}"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE} {y + 10}" role="img" '
            f'aria-label="benchmark results"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>\n'
            + "\n".join(out) + "\n</svg>\n")
