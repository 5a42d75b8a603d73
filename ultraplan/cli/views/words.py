"""Events in a person's words: the one place, for lines, the live view and reports."""

from __future__ import annotations

from dataclasses import dataclass

from ultraplan.journal.events import (
    Answered,
    AnyEvent,
    Asked,
    Failed,
    InDoubt,
    Intent,
    OpEvent,
    Outcome,
    Resolved,
    RollbackDecided,
    RunClosed,
    RunOpened,
    Skipped,
    TakenOver,
    Unchanged,
    Verified,
)


@dataclass(frozen=True, slots=True)
class Words:
    """``tone``: good, quiet, work, bad or news."""

    text: str
    tone: str
    host: str = ""
    step: str = ""


def words(event: AnyEvent) -> Words | None:
    """``event`` in words; None for those that are of no interest while they happen."""
    if isinstance(event, OpEvent):
        said = _of_operation(event)
        return Words(said[0], said[1], event.host, event.node) if said is not None else None
    match event:
        case RunOpened():
            count = len(event.hosts)
            return Words(f"run opened: {event.plan} on {count} host{'s' * (count != 1)}", "news")
        case TakenOver():
            return Words(f"taken over: {event.verb}", "news")
        case RollbackDecided():
            where = "the run" if event.hosts is None else ", ".join(event.hosts)
            return Words(f"going back: {where}, because {event.cause}", "bad")
        case RunClosed():
            return Words(f"closed: {event.status.replace('_', ' ')}", "news")
        case _:
            return None


def _of_operation(event: OpEvent) -> tuple[str, str] | None:
    back = event.direction == "reverse"
    match event:
        case Skipped():
            return f"{'nothing to undo' if back else 'skipped'} ({event.why})", "quiet"
        case Unchanged():
            return "unchanged", "quiet"
        case Intent():
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            armed = "" if event.confirm is None else (
                f", armed: the host undoes it by itself unless it is confirmed within {event.confirm:g} s")
            return f"{'undoing' if back else 'working'}{again}{armed}", "work"
        case Outcome(ok=False):
            return f"attempt {event.attempt} failed: {event.error}", "bad"
        case Verified():
            return "undone" if back else "done", "good"
        case Failed():
            return f"{'cannot be undone' if back else 'failed'}: {event.error}", "bad"
        case InDoubt():
            return f"in doubt: {event.why}", "bad"
        case Asked():
            return f"asks: {event.question}   (ultraplan runs answer last yes|no)", "news"
        case Answered():
            return f"answered: {'yes' if event.yes else 'no'}{f' by {event.user}' if event.user else ''}", "news"
        case Resolved():
            return f"a person said: {'done' if event.done else 'not done'}", "news"
        case _:
            return None
