"""How a run ended: what was done and undone where, what is left, and what to type next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ultraplan.journal.events import Failed, InDoubt, OpEvent, Record, RunClosed, Skipped, Unchanged, Verified
from ultraplan.secrets import shown

NEXT = {
    "failed": "ultraplan runs show {run}",
    "rolled_back": "ultraplan runs show {run}",
    "rollback_incomplete": "ultraplan resume {run}   (tries the rest of the rollback again)",
    "paused": "ultraplan runs show {run}, then ultraplan resolve or ultraplan resume {run}",
    "interrupted": "ultraplan resume {run}   or   ultraplan rollback {run}",
    "succeeded": "ultraplan rollback {run}   (undoes it)",
}


def report(run: str, closed: RunClosed, records: Sequence[Record], hosts: Sequence[str], *, as_json: bool,
           color: bool) -> str:
    """The closing report, as text or as a JSON document."""
    told = summary(run, closed, records, hosts)
    if as_json:
        return shown(json.dumps(told, ensure_ascii=False))
    rows = ["", f"{closed.status.replace('_', ' ')}: {told['counts_text']}"]
    if closed.cause:
        rows.append(f"cause: {closed.cause}")
    for host, steps in told["undone"].items():
        rows.append(f"  undone on {host}: {', '.join(steps)}")
    for line in closed.residue:
        rows.append(f"  left as it is: {line}")
    for one in told["in_doubt"]:
        rows.append(f"  in doubt: {one['step']} on {one['host']}: {one['why']}; say how it ended: "
                    f"ultraplan resolve {run} {one['step']}@{one['host']} --as done|not-done")
    took = told["seconds"]
    rows.append(f"run {run}, {took:.1f} s; next: {NEXT[closed.status].format(run=run)}")
    return shown("\n".join(rows))


def summary(run: str, closed: RunClosed, records: Sequence[Record], hosts: Sequence[str]) -> dict[str, Any]:
    """What the report says, as data (``ultraplan/result``, version 1)."""
    changed: dict[tuple[str, str], str] = {}
    undone: dict[str, list[str]] = {}
    doubts: dict[tuple[str, str], str] = {}
    intents: set[str] = set()
    for record in records:
        event = record.event
        if not isinstance(event, OpEvent):
            continue
        key = (event.node, event.host)
        if type(event).__name__ == "Intent":
            intents.add(event.op + event.direction)
        if isinstance(event, InDoubt):
            doubts[key] = event.why
        elif isinstance(event, (Verified, Failed, Skipped, Unchanged)):
            doubts.pop(key, None)
        if event.direction == "reverse":
            if isinstance(event, Verified):
                undone.setdefault(event.host, []).append(event.node)
            continue
        match event:
            case Verified():
                changed[key] = "changed" if event.op + "forward" in intents else "checked"
            case Unchanged():
                changed[key] = "unchanged"
            case Skipped():
                changed[key] = "skipped"
            case Failed():
                changed[key] = "failed"
            case _:
                pass
    counts = Counter(changed.values())
    back = sum(map(len, undone.values()))
    order = ("changed", "checked", "unchanged", "skipped", "failed")
    parts = [f"{counts[name]} {name}" for name in order if counts[name]]
    if back:
        parts.append(f"{back} undone")
    return {
        "format": "ultraplan/result", "version": 1, "run": run, "status": closed.status, "cause": closed.cause,
        "hosts": list(hosts), "counts": {**counts, "undone": back},
        "counts_text": f"{', '.join(parts) or 'nothing'} on {len(hosts)} host{'s' * (len(hosts) != 1)}",
        "undone": undone, "residue": closed.residue,
        "in_doubt": [{"step": node, "host": host, "why": why} for (node, host), why in doubts.items()],
        "seconds": records[-1].time - records[0].time if records else 0.0,
    }
