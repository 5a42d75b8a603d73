"""The table of an operation's states: every pair in it holds, and nothing that is not in it."""

from __future__ import annotations

from itertools import product

import pytest

from ultraplan.engine.states import REVERSE_TRANSITIONS, TRANSITIONS, OpState, ProtocolError, after, word
from ultraplan.journal.events import (
    Answered,
    AnyEvent,
    Direction,
    Failed,
    InDoubt,
    Intent,
    Noted,
    Outcome,
    Prepared,
    Resolved,
    Skipped,
    Started,
    Unchanged,
    Verified,
    decode,
    encode,
)


def _events(direction: Direction) -> list[AnyEvent]:
    def about(kind: type, **more: object) -> AnyEvent:
        return kind(op="", node="a", host="h", direction=direction, **more)  # type: ignore[no-any-return]

    return [about(Started), about(Skipped), about(Unchanged), about(Prepared, way_back="reversible"),
            about(Intent, attempt=1, epoch=1), about(Outcome, ok=True, attempt=1), about(Outcome, ok=False, attempt=1),
            about(Intent, attempt=1, epoch=1, confirm=60.0), about(Outcome, ok=False, attempt=1, undone=True),
            about(Verified), about(Failed, error=""), about(InDoubt, why=""), about(Resolved, done=True),
            about(Resolved, done=False)]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("state", list(OpState))
def test_what_the_table_has_holds_and_everything_else_is_refused(state: OpState, direction: Direction) -> None:
    table = TRANSITIONS if direction == "forward" else REVERSE_TRANSITIONS
    for event in _events(direction):
        what = word(event)
        assert what is not None
        if (state, what) in table:
            assert after(state, event) is table[state, what]
        else:
            with pytest.raises(ProtocolError, match=f"that is {state} cannot become {what}"):
                after(state, event)


def test_the_table_speaks_only_of_events_that_exist() -> None:
    words = {word(event) for event in _events("forward")}
    assert {what for _, what in REVERSE_TRANSITIONS} <= words


def test_what_is_verified_skipped_or_unchanged_stays_so() -> None:
    final = (OpState.VERIFIED, OpState.SKIPPED, OpState.UNCHANGED)
    assert not [pair for pair in REVERSE_TRANSITIONS if pair[0] in final]


def test_no_effect_without_a_durable_way_back_and_none_verified_without_an_effect() -> None:
    assert {state for state, what in TRANSITIONS if what == "intent"} <= {
        OpState.PREPARED, OpState.INTENT, OpState.MISSED, OpState.DONE}
    assert (OpState.PENDING, "verified") not in TRANSITIONS
    assert (OpState.INTENT, "verified") not in TRANSITIONS


def test_a_journal_of_before_there_was_confirm_is_read_and_says_that_nothing_was_armed() -> None:
    about = '"op":"o","node":"a","host":"h"'
    intent = decode(f'{{"type":"intent",{about},"attempt":1,"epoch":1,"boot":"b","deadline":3600.0}}'.encode())
    outcome = decode(f'{{"type":"outcome",{about},"ok":false,"attempt":1,"error":"e"}}'.encode())
    assert isinstance(intent, Intent) and intent.confirm is None
    assert isinstance(outcome, Outcome) and not outcome.undone
    armed = Intent(op="o", node="a", host="h", attempt=1, epoch=1, confirm=60.0)
    undone = Outcome(op="o", node="a", host="h", ok=False, attempt=1, undone=True)
    assert (decode(encode(armed)), decode(encode(undone))) == (armed, undone)


@pytest.mark.parametrize(("state", "event"), list(product(OpState, (
    Noted(text="x"), Answered(op="", node="a", host="h", yes=True)))))
def test_other_events_change_no_state(state: OpState, event: AnyEvent) -> None:
    assert after(state, event) is state
