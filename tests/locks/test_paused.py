"""A controller that was stopped (a suspended laptop, a full swap) and wakes up after another has taken over: the store
refuses its events and the host its effects, whatever it believes to hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.world import COUNTER, World, finish
from ultraplan.journal.events import RunOpened, TakenOver
from ultraplan.journal.stores import open_store

pytestmark = pytest.mark.lab

STEPS = f"""
- {{id: config, file: {{path: /srv/config, content: "new\\n"}}}}
- id: count
  command: "echo did >>{COUNTER}"
  undo: {{command: "echo undid >>{COUNTER}"}}
- id: last
  command: "echo last >>{COUNTER}; exit {{{{ inputs.code }}}}"
  undo: {{command: "echo unlast >>{COUNTER}"}}
"""
INPUTS = {"code": {"type": "integer", "default": 0}}
OTHER = f"""
- {{id: config, file: {{path: /srv/config, content: "other\\n"}}}}
- id: count
  command: "echo other >>{COUNTER}"
  undo: {{command: "echo unother >>{COUNTER}"}}
"""
SHORT = ("import ultraplan.engine.runs as runs; runs.LEASE_SECONDS = {}; "
         "from ultraplan.cli.main import entry; entry()")


@dataclass(frozen=True)
class Pause:
    """``fault``: where the first controller stops. ``then``: what the second one does. ``counts``: what is in the
    host's counter in the end, whatever the first does when it wakes."""

    fault: str
    then: str
    counts: dict[str, int]
    code: int = 0

    def __str__(self) -> str:
        return f"stopped {self.fault}, then {self.then}"


DONE, UNDONE = {"did": 1, "last": 1}, {"did": 1, "last": 1, "unlast": 1, "undid": 1}
PAUSES = (
    Pause("after-intent@count", "resume", DONE),
    Pause("before-intent@config", "resume", DONE),
    Pause("after-effect@count", "resume", DONE),
    Pause("before-verified@last", "resume", DONE),
    Pause("after-intent@last", "rollback", {"did": 1, "undid": 1}),
    Pause("after-reverse-intent@count", "resume", UNDONE, 1),
    Pause("after-reverse-effect@last", "resume", UNDONE, 1),
    Pause("after-intent@count", "another run", {"other": 1}),
    Pause("before-intent@last", "another run", {"did": 1, "other": 1}),
)


def paused_and_woken(here: World, pause: Pause, lease: float) -> None:
    host, = here.hosts
    here.sh("mkdir -p /srv /var/log")
    plan = here.plan(STEPS, inputs=INPUTS)
    other = here.plan(OTHER, "other.yaml")
    words = ["apply", str(plan), "-i", "inventory.json", "--yes", "-e", f"code={pause.code}"]
    first = subprocess.Popen(
        [sys.executable, "-c", SHORT.format(lease), *words], cwd=here.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**here.environment, "ULTRAPLAN_FAULT": pause.fault, "ULTRAPLAN_FAULT_ACTION": "stop"})
    try:
        _await_stop(first.pid)
        run, = here.journal()
        again = ["apply", str(other), "-i", "inventory.json", "--yes"] if pause.then == "another run" else [
            pause.then, run, *(["--yes"] if pause.then == "rollback" else [])]
        if lease > 10:  # a shorter one runs out while a program starts
            here.run(*again).expect(6)
        time.sleep(lease + 0.5)
        here.run(*again).expect(pause.code if pause.then == "resume" else 0)
        before = here.counts(host), here.events(run)
        first.send_signal(signal.SIGCONT)
        woken = finish(first, 60)
    finally:
        if first.poll() is None:
            first.kill()
            first.wait()
    assert woken.code == 6, woken.said
    assert "taken over" in woken.err or "took this host over" in woken.err, woken.said
    assert "Traceback" not in woken.err, woken.said
    assert (here.counts(host), here.events(run)) == before, f"it did something after it was taken over\n{woken.said}"
    assert here.counts(host) == pause.counts
    _epochs_only_grow(here, run)


def _await_stop(pid: int) -> None:
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "T":
        assert time.monotonic() < end, "the point was not passed"
        time.sleep(0.02)
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None, "it ended instead"


def _epochs_only_grow(here: World, run: str) -> None:
    store = open_store(here.state / "journal.db")
    epochs = [one.event.epoch for one in store.read(run) if isinstance(one.event, (RunOpened, TakenOver))]
    store.close()
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize("pause", [PAUSES[7]], ids=str)
def test_who_wakes_up_after_a_take_over_can_do_nothing(world: Callable[..., World], pause: Pause) -> None:
    paused_and_woken(world(1), pause, 1.0)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["debian", "busybox"])
@pytest.mark.parametrize("pause", PAUSES, ids=str)
def test_wherever_it_was_stopped_it_can_do_nothing(world: Callable[..., World], pause: Pause, kind: str) -> None:
    paused_and_woken(world(1, kind), pause, 1.0)


@pytest.mark.long
def test_with_the_lease_as_it_is(world: Callable[..., World]) -> None:
    from ultraplan.engine.runs import LEASE_SECONDS

    paused_and_woken(world(1), PAUSES[0], LEASE_SECONDS)
