"""A run told to somebody who was not there: what happened, where it stopped and why, what can be done now."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ultraplan.cli.views.nexts import Standing, goes_back, next_commands
from ultraplan.cli.views.paint import TONES, paint, visible
from ultraplan.cli.views.report import left_lines, outcomes, summary
from ultraplan.cli.views.text import ago, counted, date, lasting, some
from ultraplan.cli.views.words import Narration
from ultraplan.journal.events import Intent, OpEvent, Record, RunClosed, RunOpened, TakenOver
from ultraplan.secrets import shown


def story(info: Mapping[str, Any], records: Sequence[Record], damage: str | None = None, *,
          final: str | None = None) -> dict[str, Any]:
    """The run as data (``ultraplan/run``, version 1). ``info``: its row in the list of runs. ``damage``: what is wrong
    with the journal after ``records``, and what to do; then how the run ended is not told, because it is not known.
    ``final``: why a failed run cannot be resumed (None: it can)."""
    opened = next((record.event for record in records if isinstance(record.event, RunOpened)), None)
    closed = next((record.event for record in reversed(records) if isinstance(record.event, (RunClosed, TakenOver))),
                  None)
    end = closed if isinstance(closed, RunClosed) and damage is None else None
    if damage is not None:
        info = {**info, "status": "damaged", "holder": None}
    told = summary(info["run"], end or RunClosed(status=info["status"]), records, info["hosts"])
    under_way = _under_way(records) if end is None else []
    alive = (info["holder"] or {}).get("alive")
    standing = Standing(run=info["run"], status=info["status"], in_doubt=told["in_doubt"], left=end.left if end else (),
                        back=goes_back(records), final=final, alive=alive)
    return {
        **told, **info, "format": "ultraplan/run", "version": 1,
        "user": opened.user if opened else "", "program": opened.version if opened else "",
        "digests": dict(opened.digests) if opened else {}, "going_back": standing.back,
        "failed": [{"step": step, "host": host, "error": one["error"]}
                   for (step, host), one in outcomes(records).items() if one["status"] == "failed"],
        "under_way": under_way, "timeline": _timeline(records), "damage": damage, "trusted": len(records),
        "next": [] if damage is not None else next_commands(standing),
    }


def story_text(told: Mapping[str, Any], *, color: bool, now: float) -> str:
    """The same for people. ``now``: Unix seconds."""
    rows = [*_head(told, color, now), "", "what happened (UTC)", *_happened(told, color)]
    rows += _where(told, color)
    if told["damage"] is not None:
        rows += ["", "what to do", f"  {visible(told['damage'])}"]
    else:
        rows += ["", "what to type next", *(f"  {visible(command)}" for command in told["next"])]
    return shown("\n".join(rows))


def _head(told: Mapping[str, Any], color: bool, now: float) -> list[str]:
    hosts = told["hosts"]
    worked = f"{lasting(told['at_work'])} at work"
    if told["since_opened"] - told["at_work"] >= 1:
        worked += f", the last of it {lasting(told['since_opened'])} after it was opened"
    rows = [paint(f"run {told['run']} of {told['plan']}", "bold", color),
            visible(f"opened {date(told['opened'])} UTC ({ago(now - told['opened'])}) by {told['user'] or 'somebody'} "
                    f"(ultraplan {told['program']}) on {counted(len(hosts), 'host')}: {some(hosts, 8)}"),
            visible(f"{_standing(told)}: {told['counts_text']}; {worked}")]
    if told["damage"] is not None:
        rows.append(paint(f"the journal is damaged: only its first {counted(told['trusted'], 'record')} can be "
                          "trusted, and only those are told here", "red", color))
    if told["cause"]:
        rows += [paint(f"cause: {line}" if not index else f"  {line}", "red", color)
                 for index, line in enumerate(told["cause"].splitlines())]
    return rows


def _happened(told: Mapping[str, Any], color: bool) -> Iterator[str]:
    """The timeline: the time of day (with the date where the day is another), the time since the opening, and what."""
    day = ""
    for one in told["timeline"]:
        moment = date(one["time"])
        if day and moment[:10] != day:
            yield f"  {moment[:10]}"
        day = moment[:10]
        where = f" on {some(one['hosts'], 4)}" if one["hosts"] else ""
        place = f"{one['step']}{where}: " if one["step"] else ""
        took = one["until"] - one["time"]
        span = f" (over {lasting(took)})" if took >= 1 else ""
        since = f"+{lasting(one['time'] - told['opened'])}"
        first, *more = f"{place}{one['text']}{span}".splitlines()
        yield f"  {moment[11:]}  {since:>8}  {paint(first, TONES[one['tone']], color)}"
        yield from (f"  {'':18}  {paint(line, TONES[one['tone']], color)}" for line in more)


def _where(told: Mapping[str, Any], color: bool) -> list[str]:
    """Where it stands: what was undone, what stays, what is under way, what only a person can know."""
    rows = [visible(f"undone on {host}: {', '.join(steps)}") for host, steps in told["undone"].items()]
    rows += [paint(line, "red", color) for line in left_lines(told)]
    for one in told["under_way"]:
        died = told["status"] == "open" and (told["holder"] or {}).get("alive") is not True
        unknown = "; how it ended, its host tells whoever goes on" if died else ""
        way = "undoing " if one["direction"] == "reverse" else ""
        rows.append(paint(f"under way: {way}{one['step']} on {one['host']} (attempt {one['attempt']}, since "
                          f"{_clock(one['since'])}){unknown}", "cyan", color))
    rows += [paint(f"in doubt: {one['step']} on {one['host']}: {one['why']}", "red", color)
             for one in told["in_doubt"]]
    return ["", "where it stands", *(f"  {row}" for row in rows)] if rows else []


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
    narration = Narration()
    told = [one for record in records for one in narration.tell(record)]
    for record, said in sorted([*told, *narration.rest()], key=lambda one: one[0].seq):
        if isinstance(record.event, Intent) and record.event.attempt == 1:
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
