"""The matrix as a table: a row for each trouble and place, a column for each verb and kind, seconds in each cell."""

from __future__ import annotations

from collections.abc import Sequence

from tests.crash.cells import PLACES, VERBS
from tests.crash.plan import KINDS
from tests.crash.run import Verdict


def table(verdicts: Sequence[Verdict]) -> str:
    """The table; a cell that is wrong stands out."""
    found = {(one.cell.trouble.name, one.cell.place, one.cell.verb, one.cell.kind): one for one in verdicts}
    troubles = list(dict.fromkeys(one.cell.trouble.name for one in verdicts))
    width = max(map(len, troubles), default=0)
    columns = [(verb, kind) for verb in VERBS for kind in KINDS]
    rows = [" " * (width + 8) + "".join(f"{verb if kind == KINDS[0] else '':39}" for verb, kind in columns
                                        if kind == KINDS[0]).rstrip(),
            " " * (width + 8) + "".join(f"{kind:13}" for _, kind in columns).rstrip()]
    for trouble in troubles:
        shown = trouble
        for place in PLACES:
            ends = [found.get((trouble, place, verb, kind)) for verb, kind in columns]
            if any(ends):
                rows.append(f"{shown:{width}}  {place:6}" + "".join(f"{_told(end):13}" for end in ends).rstrip())
                shown = ""
    return "\n".join(rows)


def _told(verdict: Verdict | None) -> str:
    if verdict is None:
        return "–"
    return f"WRONG {verdict.seconds:.1f}" if verdict.wrong else f"right {verdict.seconds:.1f}"
