"""What differs between two saved plans or two runs, per step and host, and what that brings with it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ultraplan.cli.views.paint import paint, visible
from ultraplan.cli.views.report import outcomes, spans
from ultraplan.cli.views.text import lasting, some
from ultraplan.journal.events import Record, RunClosed, RunOpened
from ultraplan.secrets import shown

Operations = Mapping[tuple[str, str], Mapping[str, Any]]

OF_PLANS = ("action", "summary", "certainty", "because", "way_back", "down", "diff", "before")
"""What of a predicted operation is compared, the weightiest first."""

OF_RUNS = ("status", "attempts", "error", "undone")
HEADS = ("plan", "hosts", "batches", "inputs", "no_return", "most_down", "unreachable", "warnings", "status", "cause")


def of_plans(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Two documents of saved plans, compared."""
    heads = [{**one, "inputs": one["request"]["given"]} for one in (a, b)]
    operations = [{(each["node"], each["host"]): each for each in one["operations"]} for one in (a, b)]
    return _compared(heads, operations, OF_PLANS)


def of_runs(a: tuple[str, Sequence[Record]], b: tuple[str, Sequence[Record]]) -> dict[str, Any]:
    """Two runs' journals, compared."""
    heads, operations = [], []
    for _, records in (a, b):
        opened = next((record.event for record in records if isinstance(record.event, RunOpened)), None)
        closed = next((record.event for record in reversed(records) if isinstance(record.event, RunClosed)), None)
        status = closed.status if closed else "open"
        heads.append({"plan": opened.plan if opened else "", "hosts": opened.hosts if opened else [],
                      "digests": opened.digests if opened else {}, "status": status.replace("_", " "),
                      "cause": closed.cause if closed else "",
                      "seconds": sum(end - begin for begin, end in spans(records))})
        operations.append(outcomes(records))
    return {**_compared(heads, operations, OF_RUNS), "seconds": [head["seconds"] for head in heads]}


def _compared(heads: Sequence[Mapping[str, Any]], operations: Sequence[Operations],
              fields: Sequence[str]) -> dict[str, Any]:
    whole = [{"field": name, "before": heads[0].get(name), "after": heads[1].get(name)} for name in HEADS
             if heads[0].get(name) != heads[1].get(name)]
    digests = [head.get("digests", {}) for head in heads]
    sources = [{"source": name, "change": _change(digests[0].get(name), digests[1].get(name))}
               for name in sorted(set(digests[0]) | set(digests[1])) if digests[0].get(name) != digests[1].get(name)]
    steps: list[dict[str, Any]] = []
    for key in dict.fromkeys([*operations[0], *operations[1]]):
        before, after = operations[0].get(key), operations[1].get(key)
        found = [{"field": name, "before": (before or {}).get(name), "after": (after or {}).get(name)}
                 for name in fields if (before or {}).get(name) != (after or {}).get(name)]
        if before is None or after is None or found:
            steps.append({"step": key[0], "host": key[1], "change": _change(before, after), "fields": found,
                          "brings": _brings(before or {}, after or {})})
    return {"different": bool(whole or sources or steps), "whole": whole, "sources": sources, "operations": steps}


def _brings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What the second does to the world that the first does not: what a reviewer must not overlook."""
    told = [f"{name} goes down for a while" for name in after.get("down", []) if name not in before.get("down", [])]
    if after.get("way_back") == "irreversible" and before.get("way_back") != "irreversible":
        told.append("no way back")
    if after.get("action") == "impossible" and before.get("action") != "impossible":
        told.append("would fail")
    notes = {part.get("note") for part in before.get("diff", [])}
    told += [part["note"] for part in after.get("diff", []) if part.get("note") and part["note"] not in notes]
    return list(dict.fromkeys(told))


def _change(before: object, after: object) -> str:
    return "new" if before is None else "gone" if after is None else "changed"


def differences_text(told: Mapping[str, Any], *, color: bool) -> str:
    """The comparison for people. Hosts on which the same differs stand together."""
    if not told["different"]:
        return "no difference"
    rows = [f"{paint(one['field'].replace('_', ' '), 'bold', color)}: {_value(one['before'])} → {_value(one['after'])}"
            for one in told["whole"]]
    rows += [f"{paint(one['source'], 'bold', color)} {'is ' if one['change'] != 'changed' else ''}{one['change']}"
             for one in told["sources"]]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in told["operations"]:
        groups.setdefault(json.dumps([one["step"], one["change"], one["fields"]], sort_keys=True), []).append(one)
    for group in groups.values():
        one = group[0]
        sign, tone = {"new": ("+", "green"), "gone": ("-", "red"), "changed": ("~", "yellow")}[one["change"]]
        rows += ["", paint(f"{sign} {one['step']} on {some([each['host'] for each in group], 6)}", tone, color)]
        for part in one["fields"]:
            rows += [f"    {line}" for line in _field(part)]
        rows += [paint(f"    brings: {line}", "magenta", color) for line in one["brings"]]
    if "seconds" in told:
        rows += ["", f"took {lasting(told['seconds'][0])} → {lasting(told['seconds'][1])}"]
    return shown("\n".join(rows).lstrip("\n"))


def _field(part: Mapping[str, Any]) -> list[str]:
    if part["field"] == "before":
        return ["finds the host in another state"]
    if part["field"] == "diff":
        return ["makes another change:", *(f"  {line}" for line in _diffs(part["before"] or [], part["after"] or []))]
    return [f"{part['field'].replace('_', ' ')}: {_value(part['before'])} → {_value(part['after'])}"]


def _diffs(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where two changes lead to something else: the properties and texts that each would leave behind, compared."""
    left = [{each.get("field", each.get("path")): each for each in parts} for parts in (before, after)]
    for name in dict.fromkeys([*left[0], *left[1]]):
        one, other = left[0].get(name), left[1].get(name)
        if one == other:
            continue
        if "field" in (one or other or {}):
            told = [f"{_value(each['before'])} → {_value(each['after'])}" if each else "unchanged"
                    for each in (one, other)]
            yield f"{visible(name)}: {told[0]}   instead: {told[1]}"
        else:
            texts = [((each or {}).get("after") or "").splitlines() for each in (one, other)]
            yield from map(visible, difflib.unified_diff(texts[0], texts[1], f"a{name}", f"b{name}", lineterm=""))


def _value(value: object) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
