"""What was found on a host, compared for people: before the run, left by it, now. Only what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ultraplan.cli.views.paint import visible
from ultraplan.engine.differing import fields_that_differ, value_text

HEADS = {"before": "before the run", "left": "left by the run", "now": "now"}


def three_way(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table of ``before``, ``left`` and ``now``, of what is now not as it was left (or, where the run did not come to
    know that, as it was before). A line each; empty where nothing is."""
    states = {name: facts[name] for name in HEADS if facts.get(name)}
    names = fields_that_differ(facts.get("left") or facts.get("before", {}), facts.get("now", {}))
    if len(states) < 2 or not names:
        return []
    rows = [["", *(HEADS[name] for name in states)],
            *([name, *(_cell(name, state) for state in states.values())] for name in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(name: str, state: Mapping[str, Any]) -> str:
    nothing = state.get("kind") == "absent" and name != "written"
    return "absent" if nothing else visible(value_text(name, state.get(name)))


def put_back(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What an undo changes, a line a fact: from what is there now to what was before."""
    now, before = facts.get("now", {}), facts.get("before", {})
    for name in fields_that_differ(now, before):
        yield visible(f"{name}: {value_text(name, now.get(name))} → {value_text(name, before.get(name))}")
