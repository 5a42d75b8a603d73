"""The states of one operation and the table of what each journal event does to them."""

from __future__ import annotations

from enum import StrEnum

from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    InDoubt,
    Intent,
    OpEvent,
    Outcome,
    Prepared,
    Resolved,
    Skipped,
    Started,
    Unchanged,
    Verified,
)


class OpState(StrEnum):
    """Where an operation (a node on a host, in one direction) stands."""

    PENDING = "pending"
    STARTED = "started"        # looking; nothing has been touched
    PREPARED = "prepared"      # the way back is durable
    INTENT = "intent"          # the effect may have happened
    MISSED = "missed"          # an attempt ended badly; another may follow
    DONE = "done"              # the effect happened; not yet verified
    SKIPPED = "skipped"
    UNCHANGED = "unchanged"
    VERIFIED = "verified"
    FAILED = "failed"
    IN_DOUBT = "in-doubt"
    LEFT = "left alone"        # reverse only: what came after it could not be undone


SETTLED = frozenset({OpState.SKIPPED, OpState.UNCHANGED, OpState.VERIFIED, OpState.FAILED, OpState.LEFT})
"""Nothing more happens to the operation in this direction."""

UNDER_WAY = frozenset({OpState.STARTED, OpState.PREPARED, OpState.INTENT, OpState.MISSED, OpState.DONE})
"""Work on the operation began and has not ended."""

TRANSITIONS: dict[tuple[OpState, str], OpState] = {
    (OpState.PENDING, "started"): OpState.STARTED,
    (OpState.PENDING, "skipped"): OpState.SKIPPED,
    (OpState.PENDING, "failed"): OpState.FAILED,
    (OpState.STARTED, "started"): OpState.STARTED,
    (OpState.STARTED, "skipped"): OpState.SKIPPED,
    (OpState.STARTED, "unchanged"): OpState.UNCHANGED,
    (OpState.STARTED, "prepared"): OpState.PREPARED,
    (OpState.STARTED, "verified"): OpState.VERIFIED,
    (OpState.STARTED, "failed"): OpState.FAILED,
    (OpState.PREPARED, "started"): OpState.STARTED,
    (OpState.PREPARED, "prepared"): OpState.PREPARED,
    (OpState.PREPARED, "intent"): OpState.INTENT,
    (OpState.PREPARED, "skipped"): OpState.SKIPPED,  # by the next process, for which it is not needed any more
    (OpState.PREPARED, "failed"): OpState.FAILED,
    (OpState.INTENT, "started"): OpState.INTENT,    # after a crash: looking for how it ended
    (OpState.INTENT, "prepared"): OpState.INTENT,
    (OpState.INTENT, "intent"): OpState.INTENT,
    (OpState.INTENT, "outcome"): OpState.DONE,
    (OpState.INTENT, "missed"): OpState.MISSED,
    (OpState.INTENT, "failed"): OpState.FAILED,
    (OpState.INTENT, "in_doubt"): OpState.IN_DOUBT,
    (OpState.INTENT, "resolved"): OpState.VERIFIED,  # its host went back before anybody could ask how it ended
    (OpState.INTENT, "reopened"): OpState.MISSED,
    (OpState.MISSED, "started"): OpState.MISSED,
    (OpState.MISSED, "prepared"): OpState.MISSED,
    (OpState.MISSED, "intent"): OpState.INTENT,
    (OpState.MISSED, "unchanged"): OpState.VERIFIED,
    (OpState.MISSED, "verified"): OpState.VERIFIED,
    (OpState.MISSED, "failed"): OpState.FAILED,
    (OpState.DONE, "started"): OpState.DONE,
    (OpState.DONE, "prepared"): OpState.DONE,
    (OpState.DONE, "intent"): OpState.INTENT,
    (OpState.DONE, "outcome"): OpState.DONE,
    (OpState.DONE, "missed"): OpState.MISSED,
    (OpState.DONE, "verified"): OpState.VERIFIED,
    (OpState.DONE, "unchanged"): OpState.VERIFIED,
    (OpState.DONE, "failed"): OpState.FAILED,
    (OpState.FAILED, "started"): OpState.STARTED,   # resume tries again what failed before the run was paused
    (OpState.FAILED, "resolved"): OpState.VERIFIED,  # given up without an answer; to undo it, a person has to say
    (OpState.FAILED, "reopened"): OpState.FAILED,
    (OpState.IN_DOUBT, "resolved"): OpState.VERIFIED,
    (OpState.IN_DOUBT, "reopened"): OpState.MISSED,
    (OpState.IN_DOUBT, "outcome"): OpState.DONE,    # the host came back and had the receipt after all
    (OpState.IN_DOUBT, "missed"): OpState.MISSED,
    (OpState.IN_DOUBT, "verified"): OpState.VERIFIED,
    (OpState.IN_DOUBT, "started"): OpState.IN_DOUBT,
}
"""From (state, what happened) to the next state. What is not here is a protocol error."""

REVERSE_TRANSITIONS = {
    **TRANSITIONS,
    (OpState.STARTED, "intent"): OpState.INTENT,      # the way back needs no way back of its own
    (OpState.STARTED, "in_doubt"): OpState.IN_DOUBT,  # whether there is anything to undo is not known
    (OpState.INTENT, "verified"): OpState.VERIFIED,   # after a crash: found to be as before
    (OpState.LEFT, "started"): OpState.STARTED,       # it was begun (known in memory) before what it was left for
    (OpState.LEFT, "skipped"): OpState.SKIPPED,
}
"""The same for the way back."""

_WORDS: dict[type, str] = {
    Started: "started", Skipped: "skipped", Unchanged: "unchanged", Prepared: "prepared", Intent: "intent",
    Verified: "verified", Failed: "failed", InDoubt: "in_doubt",
}


class ProtocolError(Exception):
    """A journal holds, or a driver wants, a transition that the table does not have."""


def word(event: AnyEvent) -> str | None:
    """The table's word for ``event``, or None where it is not about one operation's state."""
    if isinstance(event, Outcome):
        return "outcome" if event.ok else "missed"
    if isinstance(event, Resolved):
        return "resolved" if event.done else "reopened"
    return _WORDS.get(type(event))


def after(state: OpState, event: AnyEvent) -> OpState:
    """The state that follows; raises `ProtocolError`."""
    what = word(event)
    if what is None:
        return state
    table = REVERSE_TRANSITIONS if isinstance(event, OpEvent) and event.direction == "reverse" else TRANSITIONS
    try:
        return table[state, what]
    except KeyError:
        raise ProtocolError(f"an operation that is {state} cannot become {what}") from None
