"""What a person can type next, for every way in which a run can stand. Each line is true: it does what it says."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ultraplan.cli.views.text import some
from ultraplan.journal.events import Left, Record, RollbackDecided

MOST = 5
"""Operations for which a command is spelled out; of more it says how many."""

BY_HAND = ("conflict", "gone", "failed")
"""Kinds of what a rollback left that a person may put right by hand."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands. ``in_doubt``: ``step`` and ``host`` of each. ``back``: the whole run goes back. ``final``: why
    a failed run cannot be resumed (None: it can). ``alive``: of an open run, whether its process lives. ``seen``: the
    person has read `ultraplan runs show` already."""

    run: str
    status: str
    in_doubt: Sequence[Mapping[str, Any]] = ()
    left: Sequence[Left] = field(default=())
    back: bool = False
    final: str | None = None
    alive: bool | None = None
    seen: bool = True


def goes_back(records: Iterable[Record]) -> bool:
    """Whether it was decided that the whole run goes back."""
    return any(isinstance(record.event, RollbackDecided) and record.event.hosts is None for record in records)


def next_commands(now: Standing) -> list[str]:
    """What to type next, the likeliest first."""
    resume, rollback = f"ultraplan resume {now.run}", f"ultraplan rollback {now.run}"
    look = [] if now.seen else [f"ultraplan runs show {now.run}"]
    match now.status:
        case "succeeded":
            return [f"{rollback}   (undoes it)"]
        case "open" if now.alive:
            return [f"ultraplan runs follow {now.run}"]
        case "rollback_incomplete":
            return _incomplete(now, resume)
        case "rolled_back_in_part":
            return look or ["nothing: what could be undone is undone, the rest is irreversible by the plan's word"]
        case "rolled_back":
            return look or ["nothing: what was done is undone (ultraplan apply does it anew)"]
        case "failed" if now.final is None:
            return [*look, *_answers(now), f"{resume}   (tries again what failed)",
                    f"{rollback}   (undoes what was done)"]
        case "failed":
            return [*look, f"{rollback}   (undoes what still stands)",
                    "ultraplan apply …   (the same plan anew; what is as wanted is left alone)"]
        case "open" | "interrupted" | "paused" if now.back:
            return [*look, *_answers(now), f"{resume}   (goes on with the rollback)"]
        case "paused" if not now.in_doubt:
            return [*look, f"{resume}   (tries again what failed; put its cause right first)",
                    f"{rollback}   (undoes what can be undone)"]
        case _:
            return [*look, *_answers(now), f"{resume}   (goes on)", f"{rollback}   (undoes what was done)"]


def _answers(now: Standing) -> list[str]:
    """For what is in doubt: look at the host, then say so."""
    return _some([_resolve(now.run, one["step"], one["host"], "done", "or not-done: look at the host first")
                  for one in now.in_doubt])


def _incomplete(now: Standing, resume: str) -> list[str]:
    by_hand = [one for one in now.left if one.kind in BY_HAND]
    away = sorted({one.host for one in now.left if one.kind == "unreachable"})
    changed = [f"{one.node} on {one.host}" for one in now.left if one.kind == "conflict"]
    failed = any(one.kind == "failed" for one in now.left)
    again = [f"once {some(away)} can be reached"] if away else []
    again += [f"once {some(changed)} is again as the run left it, or as before the run"] if changed else []
    again += ["tries again what could not be undone"] if failed or not now.left else []
    again += ["then goes on with the rest"] if not again else []
    return [*_answers(now), f"{resume}   ({'; '.join(again)})",
            *_some([_resolve(now.run, one.node, one.host, "undone", "where a person put it right by hand; then resume")
                    for one in by_hand])]


def _resolve(run: str, step: str, host: str, answer: str, when: str) -> str:
    return f"ultraplan resolve {run} {shlex.quote(f'{step}@{host}')} --as {answer}   ({when})"


def _some(commands: list[str]) -> list[str]:
    more = len(commands) - MOST
    return commands if more <= 0 else [*commands[:MOST], f"… and {more} more like it (ultraplan runs show names them)"]
