"""Events in a person's words: the one place, for lines, the live view and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ultraplan.journal.events import (
    Answered,
    AnyEvent,
    Asked,
    Failed,
    InDoubt,
    Intent,
    OpEvent,
    Outcome,
    Prepared,
    Record,
    Resolved,
    RollbackDecided,
    RunClosed,
    RunOpened,
    Skipped,
    Started,
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


Told = tuple[Record, Words]
"""What happened, and how it is told."""


class Narration:
    """Tells a run's events one after the other, each thing once: what a last attempt died of is told as the failure of
    its operation, and not as the attempt's too."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Told] = {}      # attempts that failed: another may follow
        self._attempts: dict[tuple[str, str], int] = {}

    def tell(self, record: Record) -> Iterator[Told]:
        """What is to be told now: an attempt that failed is held back until it is known what came of it."""
        event = record.event
        said = words(event)
        if isinstance(event, OpEvent) and not isinstance(event, (Started, Prepared)):  # these stand before endings
            key = (event.op, event.direction)
            if isinstance(event, Intent):
                self._attempts[key] = event.attempt
            held = self._held.pop(key, None)
            if isinstance(event, Failed) and said is not None and (tries := self._attempts.get(key, 0)) > 1:
                said = replace(said, text=f"{said.text} (attempt {tries})")
            same = (held is not None and isinstance(event, Failed) and isinstance(held[0].event, Outcome)
                    and held[0].event.error in event.error)
            if held is not None and not same:
                yield held
            if isinstance(event, Outcome) and said is not None:
                self._held[key] = (record, said)
                return
        elif isinstance(event, (RunClosed, TakenOver)):
            yield from self.rest()
        if said is not None:
            yield record, said

    def noted(self, node: str, host: str) -> None:
        """A person was told of the operation's last failed attempt in another way (with when the next one is due)."""
        for key, (_, said) in list(self._held.items()):
            if (said.step, said.host) == (node, host):
                self._held.pop(key, None)

    def rest(self) -> Iterator[Told]:
        """What was held back and nothing came of: the end, or a process that died."""
        held, self._held = list(self._held.values()), {}
        yield from held


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
            return Words(f"taken over: {event.verb}{f' by {event.user}' if event.user else ''}", "news")
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
            said = ("undone" if back else "done") if event.done else "not done"
            return f"a person said: {said}{f' (by {event.user})' if event.user else ''}", "news"
        case _:
            return None
