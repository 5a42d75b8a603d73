"""Hosts that are cut off at any point of a run, silently, and come back at once, later, or never: nothing hangs, no
effect happens twice, and what was in doubt is settled when they are back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.acceptance.test_pauses import until
from tests.acceptance.world import COUNTER, World, differences, finish

pytestmark = pytest.mark.lab

STEPS = f"""
- {{id: first, file: {{path: /srv/first, content: "1"}}}}
- id: slow
  command: "echo slow >>{COUNTER}; sleep 1.5; echo end >>{COUNTER}"
  undo: {{command: "echo unslow >>{COUNTER}; sleep 1.5; echo unend >>{COUNTER}"}}
- {{id: last, file: {{path: /srv/last, content: "1"}}}}
- {{id: check, command: "exit {{{{ inputs.code }}}}", reads_only: true}}
"""
INPUTS = {"code": {"type": "integer", "default": 0}}
SSH = "Host *\n  ConnectTimeout 2\n  ServerAliveInterval 1\n  ServerAliveCountMax 2\n"
RECONNECT = 6
BOUND = 3 + RECONNECT + 2 + 15
"""Seconds from a cut to the end of the run: to notice it, to try again, the last try; and for a busy machine."""

DONE = {"slow": 1, "end": 1}
UNDONE = {"slow": 1, "end": 1, "unslow": 1, "unend": 1}


@dataclass(frozen=True)
class Cut:
    """``at``: a fault point where the program is held while the host is cut off, or a line of the host's counter.
    ``heals``: soon (while it is tried to be reached) or later (when the run has ended). ``code``: of the last step."""

    at: str
    heals: str
    code: int

    def __str__(self) -> str:
        return f"cut at {self.at}, heals {self.heals}, {'fails' if self.code else 'succeeds'}"


CUTS = [Cut(at, heals, code) for (at, code), heals in product(
    (("before-intent@slow:2", 0), ("after-intent@slow:2", 0), ("slow", 0), ("slow", 1), ("after-effect@slow:2", 0),
     ("before-reverse-intent@slow:1", 1), ("after-reverse-intent@slow:1", 1), ("unslow", 1)), ("soon", "later"))]


def world_of_two(world: Callable[..., World], kind: str = "debian") -> World:
    here = world(2 if kind == "debian" else 1, kind)
    here.sh("mkdir -p /srv /var/log /var/lib")
    here.write("ssh_config", SSH)
    here.write("ultraplan.yaml", f"ssh_config: ssh_config\nreconnect: {RECONNECT}s\n")
    return here


def cut_and_healed(here: World, cut: Cut) -> None:
    lost = here.hosts[0]
    before = here.trees()
    plan = here.plan(STEPS, inputs=INPUTS)
    fault = cut.at if "@" in cut.at else ""
    if len(here.hosts) == 1:
        fault = fault.replace(":2", "")
    here.env.update({"ULTRAPLAN_FAULT": fault, "ULTRAPLAN_FAULT_ACTION": "stop"} if fault else {})
    process = here.start_run(plan, "-e", f"code={cut.code}")
    here.env.clear()
    try:
        if fault:
            until(lambda: _stopped(process.pid), 60)
        else:
            until(lambda: cut.at in here.counts(lost), 60)
        here.lab.cut(lost)
        began = time.monotonic()
        process.send_signal(signal.SIGCONT)
        if cut.heals == "soon":
            time.sleep(2.5)
            here.lab.heal(lost)
        ended = finish(process, 120)
        took = time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        here.lab.heal(lost)
    assert "Traceback" not in ended.err, ended.said
    assert took < BOUND + (6 if cut.heals == "soon" else 0), f"{took:.1f} s\n{ended.said}"
    if cut.heals == "soon" and ended.code in (0, 1):
        assert ended.code == cut.code, ended.said
    else:  # it could not be put back, so it is named
        assert ended.code == 4, ended.said
        assert lost in ended.out and "left as it is: " in ended.out
        for host in here.hosts[1:]:
            assert here.counts(host) == UNDONE, "the others are put back without it"
        here.run("resume", timeout=60).expect(1)
    if ended.code == 0:
        assert [here.counts(host) for host in here.hosts] == [DONE] * len(here.hosts), ended.said
    else:
        assert differences(before, here.trees()) == [], ended.said
        for host in here.hosts:
            assert here.counts(host) in (UNDONE, {}), f"{here.counts(host)}\n{ended.said}"


def _stopped(pid: int) -> bool:
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None, "it ended before it came there"
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "T"


@pytest.mark.parametrize("cut", [Cut("slow", "later", 0)], ids=str)
def test_a_host_that_was_cut_off_is_put_back_when_it_returns(world: Callable[..., World], cut: Cut) -> None:
    cut_and_healed(world_of_two(world), cut)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["debian", "busybox"])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_host_may_be_cut_off_anywhere(world: Callable[..., World], cut: Cut, kind: str) -> None:
    cut_and_healed(world_of_two(world, kind), cut)


@pytest.mark.long
def test_with_settings_as_they_are_a_lost_host_holds_nobody_up_for_long(
        world: Callable[..., World], capsys: pytest.CaptureFixture[str]) -> None:
    here = world_of_two(world)
    (here.folder / "ultraplan.yaml").unlink()
    process = here.start_run(here.plan(STEPS, inputs=INPUTS))
    until(lambda: "slow" in here.counts(here.hosts[0]), 60)
    here.lab.kill(here.hosts[0])  # gone without a word: no FIN, no RST, and it stays so
    began = time.monotonic()
    finish(process, 120).expect(4)
    took = time.monotonic() - began
    here.lab.boot(here.hosts[0])
    with capsys.disabled():
        print(f"\na host lost in an effect, default settings: the run ended after {took:.1f} s", end="")
    assert took < 65, "up to 20 s until it is noticed, 30 s of trying; and a busy machine"


@pytest.mark.long
def test_an_unreachable_host_counts_against_its_own_budget(world: Callable[..., World]) -> None:
    here = world(4)
    here.write("ssh_config", SSH)
    here.write("ultraplan.yaml", f"ssh_config: ssh_config\nreconnect: {RECONNECT}s\n")
    lost = here.hosts[0]
    plan = here.plan(STEPS, inputs=INPUTS, max_unreachable_percentage=25, max_fail_percentage=0)
    process = here.start_run(plan)
    until(lambda: "slow" in here.counts(lost), 60)
    here.lab.cut(lost)
    ended = finish(process, 120)
    here.lab.heal(lost)
    assert [here.counts(host) for host in here.hosts[1:]] == [DONE] * 3, ended.said
    assert ended.code in (1, 4), ended.said
    assert f"{lost}" in ended.out
