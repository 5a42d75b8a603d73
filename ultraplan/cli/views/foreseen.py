"""A rollback for a reviewer: what would be undone, in order and how, and what would stay as it is and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ultraplan.cli.views.facts import put_back, three_way
from ultraplan.cli.views.paint import paint, visible
from ultraplan.cli.views.text import ago, counted, date, some
from ultraplan.engine.undoing import STAYS, Expected, Foreseen, Undo
from ultraplan.secrets import shown

SIGNS = {Expected.UNDONE: ("↺", "yellow"), Expected.OPEN: ("?", "yellow"), Expected.ALREADY: ("=", "dim")}
WORDS = {Expected.UNDONE: "to undo", Expected.OPEN: "known only then", Expected.ALREADY: "already as before",
         Expected.CONFLICT: "changed since", Expected.GONE: "without pre-image", Expected.UNREACHABLE: "out of reach",
         Expected.IMPOSSIBLE: "impossible", Expected.IRREVERSIBLE: "irreversible",
         Expected.DOUBT: "in doubt", Expected.BEHIND: "left alone"}


def which_run(info: Mapping[str, Any], user: str, now: float) -> list[str]:
    """Which run it is, for a person who is about to act on it. ``info``: its row in the list of runs."""
    status = str(info["status"]).replace("_", " ")
    return [f"run {info['run']} of {info['plan']} on {counted(len(info['hosts']), 'host')}: {some(info['hosts'], 8)}",
            f"opened {date(info['opened'])} UTC ({ago(now - info['opened'])}) by {user or 'somebody'}; "
            f"last change {ago(now - info['changed'])}; {status}"]


def foreseen_text(foreseen: Foreseen, head: Sequence[str], *, color: bool) -> str:
    """The rollback as text. The same undo on several hosts, one after the other, stands once."""
    goes = [undo for undo in foreseen.undos if undo.expected not in STAYS]
    stays = [undo for undo in foreseen.undos if undo.expected in STAYS]
    rows = [paint(head[0], "bold", color), *map(visible, head[1:])]
    if goes:
        rows += ["", "what would be undone, in this order"]
        rows += [line for same in _together(goes) for line in _undone(same, color)]
    if stays:
        rows += ["", "what would stay as it is"]
        rows += [line for same in _together(stays) for line in _staying(same, color)]
    rows += ["", f"rollback: {counts_text(foreseen)}"]
    return shown("\n".join(rows))


def counts_text(foreseen: Foreseen) -> str:
    """How many there are of each, in a line."""
    parts = [f"{number} {words}" for expected, words in WORDS.items() if (number := foreseen.count(expected))]
    hosts = len({undo.host for undo in foreseen.undos})
    return f"{', '.join(parts)}, on {counted(hosts, 'host')}" if parts else "nothing to undo"


def foreseen_document(foreseen: Foreseen, info: Mapping[str, Any], user: str) -> dict[str, Any]:
    """The rollback as data (``ultraplan/rollback``, version 1)."""
    return {
        "format": "ultraplan/rollback", "version": 1, "run": foreseen.run, "plan": info["plan"],
        "hosts": list(info["hosts"]), "opened": info["opened"], "user": user, "status": info["status"],
        "counts": {str(expected).replace(" ", "_"): number for expected in Expected
                   if (number := foreseen.count(expected))},
        "undos": [{
            "step": undo.node, "host": undo.host, "type": undo.type, "expected": str(undo.expected).replace(" ", "_"),
            "stays": undo.expected in STAYS, "way_back": undo.way, "why": undo.why, "unless": list(undo.unless),
            "facts": {name: dict(facts) for name, facts in undo.facts.items()}} for undo in foreseen.undos],
    }


def _together(undos: Sequence[Undo]) -> Iterator[list[Undo]]:
    def what(undo: Undo) -> str:
        return repr((undo.node, undo.expected, undo.way, undo.why, undo.unless, undo.facts))

    return (list(same) for _, same in groupby(undos, what))


def _undone(same: Sequence[Undo], color: bool) -> Iterator[str]:
    one = same[0]
    sign, tone = SIGNS[one.expected]
    said = f"{one.way}: {one.why}" if one.why and one.way else one.why or one.way
    unless = f" [unless changed by the undo of {some(one.unless, 3)}]" if one.unless else ""
    yield paint(f"  {sign} {one.node}", tone, color) + visible(f" ({one.type}) on {_hosts(same)}: {said}{unless}")
    if one.expected is Expected.UNDONE:
        yield from (f"      {line}" for line in put_back(one.facts))


def _staying(same: Sequence[Undo], color: bool) -> Iterator[str]:
    one = same[0]
    tone = "dim" if one.expected is Expected.BEHIND else "red"
    unless = f" [unless the undo of {some(one.unless, 3)} changes that]" if one.unless else ""
    yield paint(f"  ! {one.node}", tone, color) + visible(f" ({one.type}) on {_hosts(same)}: {one.why}{unless}")
    if one.expected in (Expected.CONFLICT, Expected.GONE):
        yield from (f"      {line}" for line in three_way(one.facts))


def _hosts(same: Sequence[Undo]) -> str:
    return some([undo.host for undo in same], 6)
