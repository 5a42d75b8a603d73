"""What every store promises (ultraplan/journal/base.py)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.stores import PLACES, Place
from ultraplan.journal.base import JournalError, LeaseLost, Locked, Store
from ultraplan.journal.events import Intent, Noted, Outcome, RunClosed, RunOpened, Started, TakenOver
from ultraplan.journal.holder import holder

ME = holder()


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = place()
    yield opened
    opened.close()


def opened(plan: str = "gateway", hosts: tuple[str, ...] = ("web1",), epoch: int = 1) -> RunOpened:
    return RunOpened(plan=plan, digests={"plan": "d1"}, epoch=epoch, hosts=list(hosts), version="1")


def start(store: Store, run: str, *names: str, ttl: float = 30.0) -> Any:
    lease = store.acquire(names or (f"host:{run}",), run, ME, ttl)
    store.create(run, b"bundle of " + run.encode(), lease)
    return lease


def dead_holder() -> str:
    """The holder text of a process that has ended."""
    code = "from ultraplan.journal.holder import holder; print(holder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


# journals

def test_what_was_appended_is_read_back_in_order_with_its_numbers(store: Store) -> None:
    lease = start(store, "r1")
    awkward = "ünï\n'\"$(x) \ue0f0env:A\ue0f1 " + "x" * 100_000
    where: dict[str, Any] = {"op": "o1", "node": "a", "host": "web1"}
    events = [opened(), Started(**where), Intent(**where, attempt=1, epoch=lease.epoch, deadline=3.5),
              Outcome(**where, ok=True, attempt=1, outputs={"n": [1, None, {"deep": awkward}]})]
    first = store.append("r1", events[:3], lease)
    second = store.append("r1", events[3:], lease)
    assert [record.seq for record in first + second] == [1, 2, 3, 4]
    assert [record.event for record in store.read("r1")] == events
    assert list(store.read("r1")) == first + second
    assert abs(first[0].time - time.time()) < 60


def test_reading_after_a_number_gives_only_what_follows(store: Store) -> None:
    start(store, "r1")
    store.append("r1", [Noted(text=str(n)) for n in range(2500)])
    assert [record.seq for record in store.read("r1", after=2498)] == [2499, 2500]
    events = [record.event for record in store.read("r1", after=1)]
    assert events == [Noted(text=str(n)) for n in range(1, 2500)]
    assert list(store.read("r1", after=2500)) == list(store.read("r1", after=9999)) == []


def test_appending_nothing_adds_nothing(store: Store) -> None:
    lease = start(store, "r1")
    assert store.append("r1", [], lease) == []
    assert list(store.read("r1")) == []


def test_a_bundle_comes_back_byte_for_byte(store: Store) -> None:
    lease = store.acquire(["a"], "r1", ME, 30)
    bundle = bytes(range(256)) * 5000
    store.create("r1", bundle, lease)
    assert store.bundle("r1") == bundle


def test_a_run_is_created_once(store: Store) -> None:
    lease = start(store, "r1")
    with pytest.raises(JournalError, match="r1"):
        store.create("r1", b"other", lease)
    assert store.bundle("r1") == b"bundle of r1"


def test_an_unknown_run_is_named(store: Store) -> None:
    with pytest.raises(KeyError, match="nope"):
        store.bundle("nope")
    for ask in (lambda: list(store.read("nope")), lambda: store.append("nope", [Noted(text="")]),
                lambda: store.prune("nope")):
        with pytest.raises(JournalError, match="nope"):
            ask()


def test_runs_are_kept_apart(store: Store) -> None:
    start(store, "r1")
    start(store, "r2")
    store.append("r1", [Noted(text="one")])
    store.append("r2", [Noted(text="two")])
    store.append("r1", [Noted(text="three")])
    assert [(r.seq, r.event) for r in store.read("r1")] == [(1, Noted(text="one")), (2, Noted(text="three"))]
    assert [(r.seq, r.event) for r in store.read("r2")] == [(1, Noted(text="two"))]


def test_everything_is_there_after_opening_again(place: Place) -> None:
    before = place()
    lease = start(before, "r1")
    records = before.append("r1", [opened(), Noted(text="x")], lease)
    before.close()
    after = place()
    assert list(after.read("r1")) == records
    assert after.bundle("r1") == b"bundle of r1"
    assert after.append("r1", [Noted(text="y")], lease)[0].seq == 3
    after.close()


def test_a_reader_sees_what_another_process_appends_meanwhile(place: Place) -> None:
    writer, reader = place(), place()
    start(writer, "r1")
    seen = 0
    for n in range(20):
        writer.append("r1", [Noted(text=str(n))])
        new = list(reader.read("r1", after=seen))
        assert [record.event for record in new] == [Noted(text=str(n))]
        seen = new[-1].seq
    writer.close()
    reader.close()


def test_threads_and_openers_append_without_losing_or_mixing_anything(place: Place) -> None:
    stores = [place() for _ in range(2)]
    start(stores[0], "r1")

    def work(number: int) -> None:
        for n in range(25):
            stores[number % 2].append("r1", [Noted(text=f"{number} {n} a"), Noted(text=f"{number} {n} b")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    records = list(stores[0].read("r1"))
    assert [record.seq for record in records] == list(range(1, 401))
    texts = [record.event.text for record in records]  # type: ignore[union-attr]
    assert texts[1::2] == [text[:-1] + "b" for text in texts[::2]], "an append's events stay together"
    for number in range(8):
        mine = [text for text in texts if text.startswith(f"{number} ")]
        assert mine == [f"{number} {n} {half}" for n in range(25) for half in "ab"]
    for store in stores:
        store.close()


# lists

def test_runs_are_listed_newest_first_with_their_state(store: Store) -> None:
    first = start(store, "r1")
    store.append("r1", [opened("backup", ("db1", "db2"))], first)
    store.append("r1", [RunClosed(status="rolled_back", cause="x")], first)
    store.release(first)
    start(store, "r2")
    store.append("r2", [opened("gateway")])
    new, old = store.runs()
    assert (old.run, old.plan, old.hosts) == ("r1", "backup", ("db1", "db2"))
    assert (old.status, old.holder) == ("rolled_back", None)
    assert (new.run, new.plan, new.hosts, new.status, new.holder) == ("r2", "gateway", ("web1",), "open", ME)
    assert old.opened <= old.changed <= new.opened <= new.changed <= time.time() + 1


def test_a_run_taken_over_is_open_again_until_it_is_closed(store: Store) -> None:
    lease = start(store, "r1")
    store.append("r1", [opened(), RunClosed(status="paused")], lease)
    assert store.runs()[0].status == "paused"
    store.append("r1", [TakenOver(epoch=2, verb="resume")], lease)
    assert store.runs()[0].status == "open"
    store.append("r1", [RunClosed(status="succeeded")], lease)
    assert store.runs()[0].status == "succeeded"


def test_a_run_is_found_by_the_start_of_its_id(store: Store) -> None:
    with pytest.raises(JournalError, match="no runs"):
        store.find("last")
    for run in ("20260101-aaa", "20260101-ab", "20260102-%_x", "20260102"):
        start(store, run)
    assert store.find("20260101-aa") == "20260101-aaa"
    assert store.find("20260102") == "20260102", "a whole id wins over longer ones"
    assert store.find("last") == "20260102"
    assert store.find("20260102-%") == "20260102-%_x"
    with pytest.raises(JournalError, match=r"20260101-ab, 20260101-aaa"):
        store.find("20260101-a")
    for nothing in ("nope", "", "%", "_"):
        with pytest.raises(JournalError, match="no run's id starts with"):
            store.find(nothing)


def test_only_a_closed_run_that_nobody_works_on_can_be_pruned(store: Store) -> None:
    lease = start(store, "r1")
    store.append("r1", [opened()], lease)
    with pytest.raises(JournalError, match="open"):
        store.prune("r1")
    store.append("r1", [RunClosed(status="succeeded")], lease)
    with pytest.raises(JournalError, match="in the hands of"):
        store.prune("r1")
    store.release(lease)
    store.prune("r1")
    assert store.runs() == []
    with pytest.raises(KeyError):
        store.bundle("r1")


# locks

def test_a_lock_is_held_by_one(store: Store) -> None:
    store.acquire(["host:a", "host:b"], "r1", ME, 30)
    with pytest.raises(Locked) as refused:
        store.acquire(["host:z", "host:b"], "r2", ME, 30)
    assert (refused.value.name, refused.value.run) == ("host:b", "r1")
    assert refused.value.age < 30
    assert "process" in refused.value.holder
    assert "[" not in refused.value.holder, "people are told what means something to them"


def test_locks_are_taken_all_or_none(store: Store) -> None:
    store.acquire(["b"], "r1", ME, 30)
    with pytest.raises(Locked):
        store.acquire(["a", "b", "c"], "r2", ME, 30)
    assert store.acquire(["a", "c"], "r3", ME, 30).names == ("a", "c")


def test_epochs_only_grow_over_the_whole_store(place: Place) -> None:
    epochs = []
    for n in range(5):
        store = place()
        lease = store.acquire([f"name{n % 2}"], f"r{n}", ME, 30)
        epochs.append(lease.epoch)
        store.release(lease)
        store.close()
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize("kind", PLACES)
def test_a_new_store_has_higher_epochs_than_one_that_was_lost(kind: str, tmp_path: Path) -> None:
    first = PLACES[kind](tmp_path / "lost")()
    for n in range(5):
        last = first.acquire(["a"], f"r{n}", ME, 30)
        first.release(last)
    first.close()
    second = PLACES[kind](tmp_path / "new")()
    assert second.acquire(["a"], "r1", ME, 30).epoch > last.epoch
    second.close()


def test_released_locks_can_be_taken_at_once_and_releasing_twice_is_fine(store: Store) -> None:
    first = store.acquire(["a"], "r1", ME, 30)
    store.release(first)
    store.release(first)
    second = store.acquire(["a"], "r2", ME, 30)
    store.release(first)
    with pytest.raises(Locked):
        store.acquire(["a"], "r3", ME, 30)
    store.renew(second)


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_may_write_nothing_more(store: Store) -> None:
    old = start(store, "r1", "a", "b", ttl=0.05)
    store.append("r1", [Noted(text="in time")], old)
    time.sleep(0.1)
    store.append("r1", [Noted(text="late, but nobody else came")], old)
    new = store.acquire(["b"], "r2", ME, 30)
    assert new.epoch > old.epoch
    for write in (lambda: store.append("r1", [Noted(text="never")], old), lambda: store.renew(old),
                  lambda: store.create("r3", b"", old)):
        with pytest.raises(LeaseLost, match="b was taken over"):
            write()
    store.release(old)
    with pytest.raises(Locked):
        store.acquire(["b"], "r3", ME, 30)
    assert store.acquire(["a"], "r3", ME, 30).epoch > new.epoch, "what a lost lease held beside is free"
    texts = [record.event.text for record in store.read("r1")]  # type: ignore[union-attr]
    assert texts == ["in time", "late, but nobody else came"]


def test_a_renewed_lease_is_not_taken_over(store: Store) -> None:
    lease = store.acquire(["a"], "r1", ME, 0.3)
    for _ in range(5):
        time.sleep(0.1)
        store.renew(lease)
    with pytest.raises(Locked):
        store.acquire(["a"], "r2", ME, 30)


def test_the_run_of_a_dead_process_can_be_taken_over_at_once_by_itself_only(store: Store) -> None:
    old = store.acquire(["a"], "r1", dead_holder(), 3600)
    with pytest.raises(Locked):
        store.acquire(["a"], "r2", ME, 30)
    new = store.acquire(["a"], "r1", ME, 30)
    assert new.epoch > old.epoch
    with pytest.raises(LeaseLost):
        store.renew(old)


def test_the_run_of_a_living_process_is_not_taken_over(store: Store) -> None:
    code = "from ultraplan.journal.holder import holder; print(holder(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other:
        assert other.stdout is not None
        store.acquire(["a"], "r1", other.stdout.readline().strip(), 3600)
        with pytest.raises(Locked):
            store.acquire(["a"], "r1", ME, 30)
        other.kill()
        other.wait()
        store.acquire(["a"], "r1", ME, 30)


def test_names_are_data(store: Store) -> None:
    names = ["'; DROP TABLE locks; --", "ünï", "a\nb", "-rf", "$(x)", "%", "a" * 5000, ""]
    store.acquire(names, names[0], ME, 30)
    for name in names:
        with pytest.raises(Locked):
            store.acquire([name], "r2", ME, 30)


def test_many_names_at_once(store: Store) -> None:
    names = [f"host:{n}" for n in range(10_000)]
    lease = start(store, "r1", *names)
    store.append("r1", [Noted(text="x")], lease)
    with pytest.raises(Locked):
        store.acquire(names[-1:], "r2", ME, 30)


def test_of_many_threads_that_want_a_lock_exactly_one_gets_it(place: Place) -> None:
    stores = [place() for _ in range(3)]
    gate = threading.Barrier(9)

    def try_it(number: int) -> bool:
        gate.wait()
        try:
            stores[number % 3].acquire(["a", f"own{number}"], f"r{number}", ME, 30)
        except Locked:
            return False
        return True

    with ThreadPoolExecutor(9) as pool:
        assert sum(pool.map(try_it, range(9))) == 1
    for store in stores:
        store.close()


def test_a_closed_store_says_so(place: Place) -> None:
    store = place()
    start(store, "r1")
    store.close()
    store.close()
    for ask in (lambda: store.append("r1", [Noted(text="x")]), store.runs, lambda: list(store.read("r1"))):
        with pytest.raises(JournalError, match="closed"):
            ask()
