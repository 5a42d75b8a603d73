"""The controller dies by SIGKILL at random moments; `resume` and `rollback` go on from the journal."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.acceptance import upgrade
from tests.acceptance.world import COUNTER, GO_ON, World, differences, kill

pytestmark = pytest.mark.lab

WAYS = (
    # hosts where the ninth step fails, the verb that goes on, how it ends
    ("broken", "resume", 1),
    ("sound", "resume", 0),
    ("broken", "rollback", 0),
    ("sound", "rollback", 0),
)


def test_killed_runs_of_two_hosts_end_complete_or_undone(world: Callable[..., World]) -> None:
    _kill_and_go_on(world(2), kills=6, seed=_seed())


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_thirty_killed_runs_of_ten_hosts_end_complete_or_undone(world: Callable[..., World]) -> None:
    _kill_and_go_on(world(10), kills=30, seed=_seed())


def _seed() -> int:
    """`KILL_SEED`, to see a failure again, or another one each time."""
    return int(os.environ.get("KILL_SEED") or random.randrange(10**6))


def _kill_and_go_on(here: World, kills: int, seed: int) -> None:
    """Kill a run at a random moment, go on with it, look at the hosts; ``kills`` times.

    A moment is an event in the journal, so that it falls into the run however fast the machine is, and a while after
    it, so that it may be in the middle of anything.
    """
    print(f"seed {seed}")
    chance = random.Random(seed)
    upgrade.prepare(here)
    lengths = {}
    for kind, code in (("broken", 1), ("sound", 0)):
        _make(here, kind)
        here.apply("plan.yaml").expect(code)
        lengths[kind] = here.events(next(iter(here.journal())))
    here.run("rollback", "--yes").expect(0)
    for number in range(kills):
        kind, verb, code = WAYS[number % len(WAYS)]
        _once(here, kind, verb, code, chance.randrange(1, lengths[kind]), chance.uniform(0, 0.1))


def _make(here: World, kind: str) -> None:
    """The hosts as they are before a run."""
    here.lab.sh(here.hosts[1], f"{'touch' if kind == 'broken' else 'rm -f'} {upgrade.BROKEN}")
    here.sh(f": >{COUNTER}")


def _once(here: World, kind: str, verb: str, code: int, event: int, later: float) -> None:
    """Start, kill ``later`` seconds after the n-th event, go on, look."""
    _make(here, kind)
    before = here.trees()
    earlier = here.journal()
    process = here.start_run("plan.yaml")
    run, = here.journal().keys() - earlier.keys()
    while process.poll() is None and here.events(run) < event:
        time.sleep(0.002)
    time.sleep(later)
    kill(process)
    told = f"{kind}, killed {later * 1000:.0f} ms after event {event}, {verb}"
    ended = here.journal()[run] in ("succeeded", "rolled_back")
    if not (ended and (verb == "resume" or kind == "broken")):
        done = here.run(*GO_ON[verb])
        assert done.code == code, f"{told}: {done.said}"
    if kind == "sound" and verb == "resume":
        for host in here.hosts:
            assert here.counts(host) == dict.fromkeys(upgrade.EFFECTS, 1), told
            assert here.lab.sh(host, ["readlink", "/srv/app/current"]).stdout == "releases/2.0\n", told
        here.run("rollback", run, "--yes").expect(0)
    assert differences(before, here.trees()) == [], told
    for host in here.hosts:
        counts = here.counts(host)
        for effect, undo in upgrade.EFFECTS.items():
            assert counts.get(effect, 0) == counts.get(undo, 0) <= 1, f"{told}: {host}: {counts}"
