"""How a run ended: what was done and undone where, what is left, and what to type next."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ultraplan.cli.views.paint import visible_lines
from ultraplan.journal.events import (
    Failed,
    InDoubt,
    Intent,
    OpEvent,
    Record,
    Resolved,
    RunClosed,
    RunOpened,
    Skipped,
    Unchanged,
    Verified,
)
from ultraplan.language.values import Duration
from ultraplan.secrets import shown

COUNTED = ("changed", "checked", "unchanged", "skipped", "failed", "in doubt", "under way")


def next_commands(run: str, status: str, in_doubt: Sequence[Mapping[str, str]] = (), *, seen: bool = True,
                  alive: bool | None = None) -> list[str]:
    """What to type next, the likeliest first. ``seen``: the person has read `ultraplan runs show` already.
    ``alive``: for an open run, whether its process lives."""
    resume, rollback, show = f"ultraplan resume {run}", f"ultraplan rollback {run}", f"ultraplan runs show {run}"
    answers = [f"ultraplan resolve {run} {shlex.quote(one['step'] + '@' + one['host'])} --as done   (or not-done)"
               for one in in_doubt]
    look = [] if seen else [show]
    match status:
        case "succeeded":
            return [f"{rollback}   (undoes it)"]
        case "open" if alive:
            return [f"ultraplan runs follow {run}"]
        case "rollback_incomplete":
            return [*answers, f"{resume}   (tries the rest of the rollback again)"]
        case "open" | "interrupted" | "paused":
            return [*look, *answers, f"{resume}   (goes on)", f"{rollback}   (undoes what was done)"]
        case _:
            return look or ["nothing: what was done was undone, or the plan leaves it as it is"]


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
        rows.append(f"  in doubt: {one['step']} on {one['host']}: {one['why']}")
    took = told["seconds"]
    if told["rto"] is not None:
        kept = "kept" if told["rto"]["kept"] else "MISSED"
        rows.append(f"recovery time objective {Duration(told['rto']['objective'])}: {kept}")
    rows.append(f"run {run}, {took:.1f} s; next:")
    rows += [f"  {command}" for command in next_commands(run, closed.status, told["in_doubt"], seen=False)]
    return visible_lines(shown("\n".join(rows)))


def outcomes(records: Sequence[Record]) -> dict[tuple[str, str], dict[str, Any]]:
    """What became of each operation, by (step, host), in the order they began: ``status`` (changed, checked, unchanged,
    skipped, failed, in doubt, or under way), ``attempts``, ``error``, and ``undone``."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        event = record.event
        if not isinstance(event, OpEvent):
            continue
        one = found.setdefault((event.node, event.host),
                               {"status": "under way", "attempts": 0, "error": "", "undone": False})
        if event.direction == "reverse":
            one["undone"] = one["undone"] or isinstance(event, Verified)
            continue
        match event:
            case Intent():
                one["attempts"] = event.attempt
            case Verified():
                one["status"] = "changed" if one["attempts"] else "checked"
            case Resolved():
                one["status"] = "changed" if event.done else "under way"
            case Unchanged():
                one["status"] = "unchanged"
            case Skipped():
                one["status"] = "skipped"
            case Failed():
                one.update(status="failed", error=event.error)
            case InDoubt():
                one.update(status="in doubt", error=event.why)
            case _:
                pass
    return found


def summary(run: str, closed: RunClosed, records: Sequence[Record], hosts: Sequence[str]) -> dict[str, Any]:
    """What the report says, as data (``ultraplan/result``, version 1)."""
    undone: dict[str, list[str]] = {}
    doubts: dict[tuple[str, str], str] = {}
    for record in records:
        event = record.event
        if not isinstance(event, OpEvent):
            continue
        if isinstance(event, InDoubt):
            doubts[event.node, event.host] = event.why
        elif isinstance(event, (Verified, Failed, Skipped, Unchanged, Resolved)):
            doubts.pop((event.node, event.host), None)
        if isinstance(event, Verified) and event.direction == "reverse":
            undone.setdefault(event.host, []).append(event.node)
    counts = Counter(one["status"] for one in outcomes(records).values())
    back = sum(map(len, undone.values()))
    parts = [f"{counts[name]} {name}" for name in COUNTED if counts[name]]
    if back:
        parts.append(f"{back} undone")
    seconds = records[-1].time - records[0].time if records else 0.0
    rto = next((record.event.objectives.get("rto") for record in records if isinstance(record.event, RunOpened)), None)
    return {
        "format": "ultraplan/result", "version": 1, "run": run, "status": closed.status, "cause": closed.cause,
        "hosts": list(hosts), "counts": {**counts, "undone": back},
        "counts_text": f"{', '.join(parts) or 'nothing'} on {len(hosts)} host{'s' * (len(hosts) != 1)}",
        "undone": undone, "residue": closed.residue,
        "in_doubt": [{"step": node, "host": host, "why": why} for (node, host), why in doubts.items()],
        "seconds": seconds,
        "rto": None if rto is None else {"objective": rto, "kept": closed.status == "succeeded" and seconds <= rto},
    }
