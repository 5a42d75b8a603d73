"""What the live view says of a run, from the run itself: barriers, batches, retries, the way back; at any size."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ultraplan.cli.views.live import picture
from ultraplan.cli.views.progress import Progress
from ultraplan.engine.states import OpState

HOSTS = tuple(f"h{index:03}" for index in range(200))


def _run(nodes: Mapping[str, tuple[str, ...]], hosts: tuple[str, ...], batches: tuple[tuple[str, ...], ...]) -> Any:
    """As much of an `ultraplan.engine.run.Run` as the view looks at."""
    graph = SimpleNamespace(
        nodes={name: SimpleNamespace(id=name, hosts=hosts, needs=needs) for name, needs in nodes.items()},
        hosts=hosts, batches=batches, document=SimpleNamespace(name="tried"))
    conductor = SimpleNamespace(forward={}, unwinding={}, going_back=None, unwind=SimpleNamespace(state={}))
    return SimpleNamespace(id="run", graph=graph, conductor=conductor, lock=threading.RLock(),
                           stopping=threading.Event())


def _texts(progress: Progress) -> dict[str, str]:
    return {row.name: row.text for row in progress.board(500).steps}


def test_a_barrier_names_the_hosts_that_hold_it() -> None:
    run = _run({"one": (), "two": ("one",)}, ("a", "b", "c"), (("a", "b", "c"),))
    clock = [0.0]
    progress = Progress(run, lambda: clock[0])
    run.conductor.forward = {("one", "a"): OpState.VERIFIED, ("one", "b"): OpState.INTENT,
                             ("one", "c"): OpState.INTENT}
    progress.board(9)
    clock[0] = 65.0
    assert _texts(progress) == {"one": "1 done, 2 working (longest: b 1:05)", "two": "waits for one on b, c"}
    progress.told("one", "b", "next try in 5s")
    assert {row.name: row.text for row in progress.board(9).hosts}["b"] == "one 1:05: next try in 5s"


def test_later_batches_wait_for_this_one() -> None:
    run = _run({"one": (), "two": ("one",)}, ("a", "b"), (("a",), ("b",)))
    run.conductor.forward = {("one", "a"): OpState.VERIFIED}
    progress = Progress(run)
    assert "batch 1 of 2" in progress.board(9).head
    assert _texts(progress)["one"] == "1 done, 1 after batch 1"


def test_the_way_back_is_told_as_undoing() -> None:
    run = _run({"one": (), "two": ("one",), "three": ("two",)}, ("a",), (("a",),))
    run.conductor.forward = {("one", "a"): OpState.VERIFIED, ("two", "a"): OpState.VERIFIED,
                             ("three", "a"): OpState.FAILED}
    run.conductor.unwinding = {"a": object()}
    run.conductor.going_back = object()
    run.conductor.unwind.state = {("one", "a"): OpState.PENDING, ("two", "a"): OpState.INTENT}
    progress = Progress(run)
    texts = _texts(progress)
    assert texts["one"] == "1 to undo"
    assert texts["two"].startswith("undoing on a")
    assert texts["three"] == "1 failed"
    assert "going back" in progress.board(9).head
    run.conductor.unwind.state = dict.fromkeys(run.conductor.unwind.state, OpState.VERIFIED)
    assert [row.text for row in progress.board(9).hosts] == ["back as it was"]


def test_two_hundred_hosts_are_summed_up_in_time_and_space() -> None:
    names = [f"s{index}" for index in range(50)]
    run = _run({name: (names[index - 1],) if index else () for index, name in enumerate(names)}, HOSTS, (HOSTS,))
    run.conductor.forward = {(name, host): OpState.VERIFIED for name in names[:20] for host in HOSTS}
    run.conductor.forward |= {("s20", host): OpState.INTENT for host in HOSTS[:190]}
    progress = Progress(run)
    began = time.process_time()
    board = progress.board(30)
    assert time.process_time() - began < 0.5
    lines = [line.plain for line in picture(board, 80, 24, len(HOSTS))]
    assert len(lines) <= 24
    assert any(line.startswith("  ▸ s20") and "190 working" in line for line in lines)
    assert any("19 over" in line or "20 over" in line for line in lines)
    assert "more hosts" in lines[-1]
