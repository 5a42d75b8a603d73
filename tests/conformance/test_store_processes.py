"""What every store promises when several processes use it and any of them may be killed at any moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conformance.stores import PLACES, Place
from ultraplan.journal.events import Noted
from ultraplan.journal.holder import holder

_ROOT = Path(__file__).resolve().parents[2]

_APPENDER = """
import sys, threading
from pathlib import Path
from tests.conformance.stores import PLACES
from ultraplan.journal.events import Noted
store = PLACES[sys.argv[1]](Path(sys.argv[2]))()
def work(thread):
    n = 0
    while True:
        n += 1
        store.append("r1", [Noted(text=f"{thread} {n}"), Noted(text=f"{thread} {n} end")])
        sys.stdout.write(f"{thread} {n}\\n")  # one write, after the append returned: acknowledged
        sys.stdout.flush()
for thread in range(3):
    threading.Thread(target=work, args=(thread,)).start()
"""

_RACER = """
import os, sys, time
from pathlib import Path
from tests.conformance.stores import PLACES
from ultraplan.journal.base import Locked
from ultraplan.journal.holder import holder
store = PLACES[sys.argv[1]](Path(sys.argv[2]))()
mark, wins = Path(sys.argv[2]) / "held", 0
while wins < int(sys.argv[4]):
    try:
        lease = store.acquire(["a", sys.argv[3]], sys.argv[3], holder(), 30)
    except Locked:
        time.sleep(0.001)
        continue
    os.mkdir(mark)  # fails where another process is in here as well
    wins += 1
    os.rmdir(mark)
    print(lease.epoch, flush=True)
    store.release(lease)
"""


@pytest.fixture(params=sorted(PLACES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Place:
    return PLACES[kind](tmp_path)


def child(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=_ROOT, stdout=subprocess.PIPE, text=True)


def test_what_was_acknowledged_survives_a_kill_while_appending(
    kind: str, place: Place, tmp_path: Path,
) -> None:
    store = place()
    lease = store.acquire(["a"], "r1", holder(), 30)
    store.create("r1", b"", lease)
    moment = random.Random(7)
    seen = 0
    for round_ in range(5):
        with child(_APPENDER, kind, str(tmp_path)) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(moment.uniform(0, 0.1))
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read()
        acknowledged = (first + rest).split("\n")[:-1]
        texts = [record.event.text for record in store.read("r1", after=seen)]  # type: ignore[union-attr]
        assert acknowledged, f"round {round_}: the child never came to write"
        assert set(acknowledged) <= set(texts)
        assert texts[1::2] == [f"{text} end" for text in texts[::2]], "an append is there whole or not at all"
        for thread in "012":
            numbers = [int(text.split()[1]) for text in texts[::2] if text.startswith(f"{thread} ")]
            assert numbers == list(range(1, len(numbers) + 1))
        seen += len(texts)
    assert store.append("r1", [Noted(text="and on")], lease)[0].seq == seen + 1
    assert len(list(store.read("r1"))) == seen + 1
    store.close()


def test_two_processes_never_hold_a_lock_at_once(kind: str, place: Place, tmp_path: Path) -> None:
    place().close()
    racers = [child(_RACER, kind, str(tmp_path), name, "50") for name in ("p1", "p2")]
    epochs = [[int(line) for line in racer.communicate(timeout=120)[0].split()] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert [len(won) for won in epochs] == [50, 50]
    assert len({*epochs[0], *epochs[1]}) == 100, "no epoch is given twice"
    assert all(won == sorted(won) for won in epochs)


def test_the_first_openers_may_all_come_at_once(kind: str, tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from tests.conformance.stores import PLACES;"
            " PLACES[sys.argv[1]](Path(sys.argv[2]))().close()")
    openers = [child(code, kind, str(tmp_path)) for _ in range(4)]
    assert [opener.wait(60) for opener in openers] == [0, 0, 0, 0]
    for opener in openers:
        opener.communicate()
