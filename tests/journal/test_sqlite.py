"""The SQLite store's own promises: private files, shared flushes, clocks set back, full disks."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ultraplan.journal.base import JournalError, LeaseLost, Locked
from ultraplan.journal.events import Noted
from ultraplan.journal.holder import holder
from ultraplan.journal.leases import Instant, now
from ultraplan.journal.sqlite import SQLiteStore

ME = holder()
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(path)
    yield opened
    opened.close()


def test_only_the_owner_can_read_the_files_and_the_folder(path: Path, store: SQLiteStore) -> None:
    store.create("r1", b"", store.acquire(["a"], "r1", ME, 30))
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == {"journal.sqlite": 0o600, "journal.sqlite-wal": 0o600, "journal.sqlite-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_made_private(path: Path) -> None:
    SQLiteStore(path).close()
    path.chmod(0o644)
    SQLiteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_commit_is_flushed(path: Path, store: SQLiteStore) -> None:
    def settings(db: sqlite3.Connection) -> tuple[str, int]:
        return db.execute("PRAGMA journal_mode").fetchone()[0], db.execute("PRAGMA synchronous").fetchone()[0]

    assert store._writer.run(settings) == ("wal", 2)


def test_appends_of_several_threads_share_one_flush(path: Path, store: SQLiteStore) -> None:
    lease = store.acquire(["a"], "r1", ME, 30)
    store.create("r1", b"", lease)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nobody gets on until this ends, so all of them are waiting then
    threads = [threading.Thread(target=store.append, args=("r1", [Noted(text=str(n))], lease))
               for n in range(8)]
    before = store.commits
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert all(thread.is_alive() for thread in threads), "an append does not return before it is durable"
    other.execute("COMMIT")
    other.close()
    for thread in threads:
        thread.join()
    # the first may have been taken alone, before the others came
    assert store.commits - before <= 2
    assert len(list(store.read("r1"))) == 8


def test_a_refused_append_leaves_those_that_share_its_flush_alone(path: Path, store: SQLiteStore) -> None:
    old = store.acquire(["a"], "r1", ME, 0)
    store.create("r1", b"", old)
    time.sleep(0.01)
    new = store.acquire(["a"], "r1", ME, 30)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    said: dict[int, str] = {}

    def work(number: int) -> None:
        try:
            store.append("r1", [Noted(text=str(number))], old if number % 2 else new)
            said[number] = "written"
        except LeaseLost:
            said[number] = "refused"

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    other.execute("COMMIT")
    other.close()
    for thread in threads:
        thread.join()
    assert said == {n: "refused" if n % 2 else "written" for n in range(8)}
    assert {record.event.text for record in store.read("r1")} == {"0", "2", "4", "6"}  # type: ignore[union-attr]


_FILLER = """
import resource, sys
from pathlib import Path
from ultraplan.journal.base import JournalError
from ultraplan.journal.events import Noted
from ultraplan.journal.holder import holder
from ultraplan.journal.sqlite import SQLiteStore
store = SQLiteStore(Path(sys.argv[1]))
lease = store.acquire(["a"], "r1", holder(), 30)
store.create("r1", b"", lease)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
n = 0
try:
    while True:
        store.append("r1", [Noted(text=f"{n} " + "x" * 5000), Noted(text=f"{n} end")], lease)
        n += 1
except JournalError as error:
    print(n, error, sep="\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
store.append("r1", [Noted(text="room again")], lease)
"""


def test_a_full_disk_is_named_and_nothing_half_written_stays(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FILLER, str(path)], capture_output=True, text=True,
                          check=True, cwd=_ROOT)
    count, message = done.stdout.splitlines()
    assert int(count) > 5
    assert str(path) in message
    assert "nothing of this was written" in message
    assert "ultraplan resume" in message
    store = SQLiteStore(path)
    texts = [record.event.text.split(" x")[0] for record in store.read("r1")]  # type: ignore[union-attr]
    assert texts == [text for n in range(int(count)) for text in (str(n), f"{n} end")] + ["room again"]
    store.close()


def test_a_place_that_cannot_hold_a_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for place in (tmp_path / "file" / "journal.sqlite", Path("/proc/nope/journal.sqlite"), tmp_path):
        with pytest.raises(JournalError, match=str(place)):
            SQLiteStore(place)


def test_tables_of_a_later_version_are_left_alone(path: Path) -> None:
    SQLiteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE schema_version SET version = 99")
    db.close()
    with pytest.raises(JournalError, match="later ultraplan"):
        SQLiteStore(path)


class Clocks:
    """The wall clock and the machine's own, each set as a test likes."""

    def __init__(self, boot: str) -> None:
        self.at = Instant(1_000_000.0, boot, 5000.0)

    def __call__(self) -> Instant:
        return self.at

    def go(self, wall: float, ticks: float) -> None:
        self.at = replace(self.at, wall=self.at.wall + wall, ticks=self.at.ticks + ticks)


def test_a_wall_clock_that_jumps_ends_no_lease_of_this_boot(path: Path) -> None:
    clocks = Clocks("boot1")
    store = SQLiteStore(path, clock=clocks)
    store.acquire(["a"], "r1", ME, 60)
    clocks.go(wall=86_400, ticks=30)
    with pytest.raises(Locked):
        store.acquire(["a"], "r2", ME, 60)
    clocks.go(wall=-999_999, ticks=31)
    store.acquire(["a"], "r2", ME, 60)
    store.close()


def test_after_a_reboot_the_wall_clock_counts_and_set_back_it_starts_anew(path: Path) -> None:
    clocks = Clocks("boot1")
    store = SQLiteStore(path, clock=clocks)
    store.acquire(["a"], "r1", ME, 60)
    clocks.at = Instant(clocks.at.wall - 1_000_000, "boot2", 1.0)
    with pytest.raises(Locked):
        store.acquire(["a"], "r2", ME, 60)
    clocks.go(wall=59, ticks=59)
    with pytest.raises(Locked):
        store.acquire(["a"], "r2", ME, 60)
    clocks.go(wall=2, ticks=2)
    store.acquire(["a"], "r2", ME, 60)
    store.close()


def test_the_machines_clock_goes_forward() -> None:
    before, after = now(), now()
    assert before.boot == after.boot != ""
    assert before.ticks <= after.ticks


def test_a_store_opened_before_a_fork_refuses_in_the_child(path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from ultraplan.journal.base import JournalError
from ultraplan.journal.sqlite import SQLiteStore
store = SQLiteStore(Path({str(path)!r}))
child = os.fork()
if child == 0:
    try:
        store.acquire(["a"], "r", "h", 1)
    except JournalError:
        os._exit(7)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=_ROOT, timeout=30).returncode == 7


def test_group_commit_measured(path: Path, store: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.create("r1", b"", store.acquire(["a"], "r1", ME, 30))
    before = store.commits

    def work() -> None:
        for n in range(50):
            store.append("r1", [Noted(text=str(n))])

    threads = [threading.Thread(target=work) for _ in range(8)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    flushes = store.commits - before
    with capsys.disabled():
        print(f"\n8 threads: {flushes / 400:.2f} flushes, {took / 400 * 1000:.2f} ms an append", end="")
    assert flushes < 400
