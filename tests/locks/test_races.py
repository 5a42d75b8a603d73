"""Two processes reach for the same locks at the same moment: one gets them, whoever held them before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.stores import PLACES
from ultraplan.journal.base import LeaseLost
from ultraplan.journal.events import Noted
from ultraplan.journal.holder import holder

_ROOT = Path(__file__).resolve().parents[2]

_RACER = """
import json, os, sys
from pathlib import Path
from tests.conformance.stores import PLACES
from ultraplan.journal.base import Locked
from ultraplan.journal.holder import holder
store, mark = PLACES[sys.argv[1]](Path(sys.argv[2]))(), Path(sys.argv[2]) / "held"
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "race":
        try:
            lease = store.acquire(order["names"], order["run"], holder(), 30)
        except Locked:
            print("null", flush=True)
            continue
        os.mkdir(mark)  # fails where another process holds the locks as well
        print(lease.epoch, flush=True)
    else:
        os.rmdir(mark)
        store.release(lease)
        print("null", flush=True)
"""


class Racer:
    """A process that reaches for locks when it is told to."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _RACER, kind, str(folder)], cwd=_ROOT, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def order(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def answer(self) -> int | None:
        assert self._process.stdout is not None
        answer: int | None = json.loads(self._process.stdout.readline() or '"it died"')
        assert not isinstance(answer, str), answer
        return answer

    def end(self) -> int:
        self._process.communicate(timeout=30)
        return self._process.returncode


def race(kind: str, folder: Path, rounds: int) -> Counter[str]:
    """``rounds`` races of two processes for the locks of a run whose lease ran out, each followed by what the old
    holder can still do. Counts who won; any rule that is broken fails."""
    store = PLACES[kind](folder)()
    stale = store.acquire(["host:a", "host:b"], "r0", holder(), 0)
    store.create("r0", b"", stale)
    racers = {"p1": Racer(kind, folder), "p2": Racer(kind, folder)}
    won: Counter[str] = Counter()
    highest = 0
    for number in range(rounds):
        stale = store.acquire(["host:a", "host:b"], "r0", holder(), 0)  # held, and out of time at once
        assert stale.epoch > highest
        for name, racer in racers.items():  # both reach for one lock in common, in different company
            names = {"p1": ["host:a", "host:b"], "p2": ["host:b", "host:c"]}[name]
            racer.order(do="race", names=names, run=f"{name}-{number}")
        epochs = {name: racer.answer() for name, racer in racers.items()}
        winner, = (name for name, epoch in epochs.items() if epoch is not None)
        highest = epochs[winner] or 0
        assert highest > stale.epoch, "whoever takes over has a higher epoch"
        with pytest.raises(LeaseLost):
            store.append("r0", [Noted(text="too late")], stale)
        with pytest.raises(LeaseLost):
            store.renew(stale)
        store.release(stale)  # nothing happens: they are not its own any more
        racers[winner].order(do="let go")
        assert racers[winner].answer() is None
        won[winner] += 1
    assert [racer.end() for racer in racers.values()] == [0, 0]
    assert list(store.read("r0")) == []
    store.close()
    return won


@pytest.mark.parametrize("kind", sorted(PLACES))
def test_one_of_two_gets_a_stale_lease_and_its_holder_can_write_no_more(kind: str, tmp_path: Path) -> None:
    assert race(kind, tmp_path, 100).total() == 100


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(PLACES))
def test_a_thousand_races_for_a_stale_lease(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    won = race(kind, tmp_path, 1000)
    with capsys.disabled():
        print(f"\n{kind}: 1000 races of two processes for a stale lease, won {dict(won)}, never two holders", end="")
    assert min(won["p1"], won["p2"]) > 50, "races that one of them always wins prove little"
