"""How a run ended: what was done and undone where, what is left, and what to type next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ultraplan.cli.views.facts import three_way
from ultraplan.cli.views.nexts import Standing, goes_back, next_commands
from ultraplan.cli.views.paint import visible_lines
from ultraplan.cli.views.text import lasting
from ultraplan.journal.events import (
    Answered,
    Failed,
    InDoubt,
    Intent,
    OpEvent,
    Record,
    Resolved,
    RunClosed,
    RunOpened,
    Skipped,
    TakenOver,
    Unchanged,
    Verified,
)
from ultraplan.language.values import Duration
from ultraplan.secrets import shown

COUNTED = ("changed", "checked", "unchanged", "skipped", "failed", "in doubt", "under way")


def report(run: str, closed: RunClosed, records: Sequence[Record], hosts: Sequence[str], *, as_json: bool,
           color: bool, final: str | None = None) -> str:
    """The closing report, as text or as a JSON document. ``final``: why a failed run cannot be resumed (None: it
    can)."""
    told = summary(run, closed, records, hosts)
    told["next"] = next_commands(Standing(
        run=run, status=closed.status, in_doubt=told["in_doubt"], left=closed.left, back=goes_back(records),
        final=final, seen=as_json))
    if as_json:
        return shown(json.dumps(told, ensure_ascii=False))
    rows = ["", f"{closed.status.replace('_', ' ')}: {told['counts_text']}"]
    if closed.cause:
        rows.append(f"cause: {closed.cause}")
    for host, steps in told["undone"].items():
        rows.append(f"  undone on {host}: {', '.join(steps)}")
    rows += [f"  {line}" for line in left_lines(told)]
    for one in told["in_doubt"]:
        rows.append(f"  in doubt: {one['step']} on {one['host']}: {one['why']}")
    if told["rto"] is not None:
        kept = "kept" if told["rto"]["kept"] else "MISSED"
        rows.append(f"recovery time objective {Duration(told['rto']['objective'])}: {kept}")
    since = told["since_opened"]
    before = f" ({lasting(since)} after it was opened)" if since - told["seconds"] >= 1 else ""
    rows.append(f"run {run}, {told['seconds']:.1f} s{before}; next:")
    rows += [f"  {command}" for command in told["next"]]
    return visible_lines(shown("\n".join(rows)))


def left_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What a rollback left as it is, with a table where somebody had changed it."""
    for line, one in zip_longest(told["residue"], told["left"]):  # journals of earlier versions have only the lines
        yield f"left as it is: {line}"
        if one is not None and one["facts"] is not None:
            yield from (f"    {row}" for row in three_way(one["facts"]))


def spans(records: Sequence[Record]) -> list[tuple[float, float]]:
    """When processes worked on a run: from opening or taking it over to their last event."""
    found: list[tuple[float, float]] = []
    for record in records:
        if isinstance(record.event, (RunOpened, TakenOver)) or not found:
            found.append((record.time, record.time))
        elif not isinstance(record.event, (Resolved, Answered)):  # a person's, at any time
            found[-1] = (found[-1][0], record.time)
    return found


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
            one["undone"] = one["undone"] or isinstance(event, Verified) or (isinstance(event, Resolved) and event.done)
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
    """What the report says, as data (``ultraplan/result``, version 1). ``seconds``: the last process's time at work,
    ``at_work``: of all of them, ``since_opened``: from the run's opening to its last event."""
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
        if event.direction == "reverse" and (
                isinstance(event, Verified) or (isinstance(event, Resolved) and event.done)):
            undone.setdefault(event.host, []).append(event.node)
    counts = Counter(one["status"] for one in outcomes(records).values())
    back = sum(map(len, undone.values()))
    parts = [f"{counts[name]} {name}" for name in COUNTED if counts[name]]
    if back:
        parts.append(f"{back} undone")
    worked = spans(records)
    seconds = worked[-1][1] - worked[-1][0] if worked else 0.0
    since = worked[-1][1] - worked[0][0] if worked else 0.0
    troubles = {(record.event.node, record.event.host): record.event for record in records
                if isinstance(record.event, Failed) and record.event.direction == "reverse"}
    rto = next((record.event.objectives.get("rto") for record in records if isinstance(record.event, RunOpened)), None)
    return {
        "format": "ultraplan/result", "version": 1, "run": run, "status": closed.status, "cause": closed.cause,
        "hosts": list(hosts), "counts": {**counts, "undone": back},
        "counts_text": f"{', '.join(parts) or 'nothing'} on {len(hosts)} host{'s' * (len(hosts) != 1)}",
        "undone": undone, "residue": closed.residue,
        "left": [{"step": one.node, "host": one.host, "kind": one.kind, "why": one.why,
                  "facts": trouble.facts if one.kind in ("conflict", "gone") and (
                      trouble := troubles.get((one.node, one.host))) else None} for one in closed.left],
        "in_doubt": [{"step": node, "host": host, "why": why} for (node, host), why in doubts.items()],
        "seconds": seconds, "at_work": sum(end - begin for begin, end in worked), "since_opened": since,
        "rto": None if rto is None else {"objective": rto, "kept": closed.status == "succeeded" and since <= rto},
    }
