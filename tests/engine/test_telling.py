"""Listeners hear of a run in the journal's order, whichever thread was first."""

from __future__ import annotations

import itertools
import random

import pytest

from ultraplan.engine import telling
from ultraplan.engine.telling import InOrder
from ultraplan.journal.events import Noted, Record


def records(*numbers: int) -> list[Record]:
    return [Record(seq, 0.0, Noted(text=str(seq))) for seq in numbers]


@pytest.mark.parametrize("seed", range(50))
def test_records_are_told_in_order_in_whatever_order_threads_bring_them(seed: int) -> None:
    rng = random.Random(seed)
    told: list[int] = []
    order = InOrder([lambda record: told.append(record.seq)])
    order.take(records(1))
    batches, left = [], list(range(2, 40))
    while left:
        size = rng.randint(1, 5)
        batches.append(left[:size])
        left = left[size:]
    rng.shuffle(batches)
    for batch in batches:
        order.take(records(*batch))
    assert told == list(range(1, 40))


def test_a_record_of_another_process_does_not_hold_the_others_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 0.6)
    monkeypatch.setattr(telling.time, "monotonic", lambda: next(clock))
    told: list[int] = []
    order = InOrder([lambda record: told.append(record.seq)])
    for number in (1, 3, 4, 5):  # 2 was written elsewhere
        order.take(records(number))
    assert told == [1, 3, 4, 5]


def test_nothing_is_left_untold_at_the_end() -> None:
    told: list[int] = []
    order = InOrder([lambda record: told.append(record.seq)])
    order.take(records(1))
    order.take(records(4))
    order.take(records(3))
    assert told == [1]
    order.flush()
    assert told == [1, 3, 4]
