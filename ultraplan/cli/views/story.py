"""A run told to somebody who was not there: what happened, where it stopped and why, what can be done now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ultraplan.cli.views.paint import TONES, paint, visible
from ultraplan.cli.views.report import next_commands, summary
from ultraplan.cli.views.text import counted, lasting, some
from ultraplan.cli.views.words import words
from ultraplan.journal.events import Intent, OpEvent, Record, RunClosed, RunOpened, TakenOver
from ultraplan.secrets import shown


def story(info: Mapping[str, Any], records: Sequence[Record], damage: str | None = None) -> dict[str, Any]:
    """The run as data (``ultraplan/run``, version 1). ``info``: its row in the list of runs. ``damage``: what is wrong
    with the journal after ``records``, and what to do; then how the run ended is not told, because it is not known."""
    opened = next((record.event for record in records if isinstance(record.event, RunOpened)), None)
    closed = next((record.event for record in reversed(records) if isinstance(record.event, (RunClosed, TakenOver))),
                  None)
    end = closed if isinstance(closed, RunClosed) and damage is None else None
    if damage is not None:
        info = {**info, "status": "damaged", "holder": None}
    told = summary(info["run"], end or RunClosed(status=info["status"]), records, info["hosts"])
    under_way = _under_way(records) if end is None else []
    return {
        **told, **info, "format": "ultraplan/run", "version": 1,
        "user": opened.user if opened else "", "program": opened.version if opened else "",
        "digests": dict(opened.digests) if opened else {},
        "under_way": under_way, "timeline": _timeline(records), "damage": damage, "trusted": len(records),
        "next": [] if damage is not None else next_commands(info["run"], info["status"], told["in_doubt"],
                                                            alive=(info["holder"] or {}).get("alive")),
    }


def story_text(told: Mapping[str, Any], *, color: bool) -> str:
    """The same for people."""
    hosts = told["hosts"]
    rows = [paint(f"run {told['run']} of {told['plan']}", "bold", color),
            f"opened {_date(told['opened'])} UTC by {told['user'] or 'somebody'} (ultraplan {told['program']}) on "
            f"{counted(len(hosts), 'host')}: {some(hosts, 8)}",
            f"{_standing(told)}: {told['counts_text']}, {lasting(told['seconds'])}"]
    if told["damage"] is not None:
        rows.append(paint(f"the journal is damaged: only its first {counted(told['trusted'], 'record')} can be "
                          "trusted, and only those are told here", "red", color))
    if told["cause"]:
        rows.append(paint(f"cause: {told['cause']}", "red", color))
    rows += ["", "what happened (UTC)"]
    for one in told["timeline"]:
        where = f" on {some(one['hosts'], 4)}" if one["hosts"] else ""
        place = f"{one['step']}{where}: " if one["step"] else ""
        until = one["until"] - one["time"]
        span = f" (over {lasting(until)})" if until >= 1 else ""
        rows.append(f"  {_clock(one['time'])}  {paint(place + one['text'] + span, TONES[one['tone']], color)}")
    for host, steps in told["undone"].items():
        rows.append(f"undone on {host}: {', '.join(steps)}")
    rows += [paint(f"left as it is: {line}", "red", color) for line in told["residue"]]
    for one in told["under_way"]:
        rows.append(paint(f"under way: {one['step']} on {one['host']} ({one['direction']}, attempt {one['attempt']}, "
                          f"since {_clock(one['since'])})", "cyan", color))
    rows += [paint(f"in doubt: {one['step']} on {one['host']}: {one['why']}", "red", color)
             for one in told["in_doubt"]]
    if told["damage"] is not None:
        rows += ["", "what to do", f"  {told['damage']}"]
    else:
        rows += ["", "what to type next", *(f"  {command}" for command in told["next"])]
    return shown("\n".join(visible(row) if "\x1b[" not in row else row for row in rows))


def _standing(told: Mapping[str, Any]) -> str:
    holder = told["holder"]
    if told["status"] != "open":
        return str(told["status"]).replace("_", " ")
    if holder is None:
        return "open, and nobody is at it"
    return {True: f"under way, by {holder['who']}", False: f"open, but {holder['who']} is gone: killed or crashed",
            None: f"open, by {holder['who']}, of which nothing can be known from here"}[holder["alive"]]


def _timeline(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What happened, in order; the same thing on several hosts, with nothing else of that step in between, in one."""
    out: list[dict[str, Any]] = []
    last: dict[str, dict[str, Any]] = {}
    for record in records:
        said = words(record.event)
        if said is None or (isinstance(record.event, Intent) and record.event.attempt == 1):
            continue
        before = last.get(said.step) if said.step else None
        if before is not None and before["text"] == said.text:
            if said.host not in before["hosts"]:
                before["hosts"].append(said.host)
            before["until"] = record.time
            continue
        one = {"time": record.time, "until": record.time, "step": said.step, "text": said.text, "tone": said.tone,
               "hosts": [said.host] if said.host else []}
        out.append(one)
        last[said.step] = one
    return out


def _under_way(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Effects that began and of which nothing more is known."""
    last: dict[tuple[str, str], tuple[OpEvent, float]] = {}
    for record in records:
        if isinstance(record.event, OpEvent):
            last[record.event.op, record.event.direction] = (record.event, record.time)
    return [{"step": event.node, "host": event.host, "direction": event.direction, "attempt": event.attempt,
             "since": since} for event, since in last.values() if isinstance(event, Intent)]


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(when))


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
