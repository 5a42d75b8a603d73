"""Hosts that are away, go away in the middle, or are rebooted."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.acceptance.test_pauses import until
from tests.acceptance.world import COUNTER, World, differences, finish

pytestmark = pytest.mark.lab

STEPS = f"""
- {{id: first, file: {{path: /srv/first, content: "1"}}}}
- id: slow
  command: "echo slow >>{COUNTER}; sleep 2; echo end >>{COUNTER}"
  undo: {{command: "echo unslow >>{COUNTER}"}}
- {{id: last, file: {{path: /srv/last, content: "1"}}}}
"""


@pytest.fixture
def three(world: Callable[..., World]) -> World:
    """Hosts whose silence is noticed soon."""
    here = world(3)
    here.write("ssh_config", "Host *\n  ConnectTimeout 2\n  ServerAliveInterval 1\n  ServerAliveCountMax 2\n")
    here.write("ultraplan.yaml", "ssh_config: ssh_config\n")
    return here


def test_a_host_that_is_away_is_told_before_anything_is_touched(three: World) -> None:
    plan, away = three.plan(STEPS), three.hosts[1]
    three.lab.cut(away)

    shown = three.on("plan", plan, timeout=30).expect(1)
    assert f"{away} cannot be reached" in shown.out
    assert "on 3 hosts, 1 of them not reached" in shown.out
    refused = three.apply(plan, timeout=30).expect(1)
    assert away in refused.err and "nothing was touched" in refused.err
    assert [three.counts(host) for host in three.hosts if host != away] == [{}, {}]

    gone = three.plan(STEPS, "gone.yaml", max_unreachable_percentage=34)
    result = three.apply(gone, "--json", timeout=90).expect(1).result
    three.lab.heal(away)
    assert result["status"] == "failed", result
    assert [three.counts(host) for host in three.hosts] == [{"slow": 1, "end": 1}, {}, {"slow": 1, "end": 1}]


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["cut", "kill"])
def test_a_host_that_is_lost_in_the_middle_of_an_effect_is_put_back_when_it_returns(
        three: World, trouble: str) -> None:
    plan, lost = three.plan(STEPS), three.hosts[1]
    before = three.trees()
    process = three.start_run(plan)
    until(lambda: all(three.counts(host) == {"slow": 1} for host in three.hosts))
    began = time.monotonic()
    (three.lab.cut if trouble == "cut" else three.lab.kill)(lost)

    ended = finish(process, 120).expect(4)

    assert time.monotonic() - began < 100
    assert lost in ended.out and "left as it is: " in ended.out
    others = [host for host in three.hosts if host != lost]
    assert [three.counts(host) for host in others] == [{"slow": 1, "end": 1, "unslow": 1}] * 2
    if trouble == "cut":
        three.lab.heal(lost)
    else:  # what a power loss ended has no exit code, so only a person knows whether it has to be undone
        three.lab.boot(lost)
        doubtful = three.run("resume", timeout=60).expect(4)
        assert f"in doubt: slow on {lost}" in doubtful.out
        three.run("resolve", "last", f"slow@{lost}", "--as", "done").expect(0)
    three.run("resume", timeout=60).expect(1)
    assert differences(before, three.trees()) == []


def test_a_host_that_is_rebooted_in_the_middle_of_an_effect_leaves_it_in_doubt(three: World) -> None:
    plan, host = three.plan(STEPS), three.hosts[1]
    before = three.trees()
    process = three.start_run(plan)
    until(lambda: all(three.counts(one) == {"slow": 1} for one in three.hosts))
    three.lab.boot(host)

    paused = finish(process, 120).expect(5)

    assert f"slow on {host}" in paused.out and "resolve" in paused.out
    assert three.counts(host) == {"slow": 1}
    three.run("resolve", "last", f"slow@{host}", "--as", "done").expect(0)
    three.run("rollback", "--yes", timeout=60).expect(0)
    assert three.counts(host) == {"slow": 1, "unslow": 1}
    assert differences(before, three.trees()) == []
