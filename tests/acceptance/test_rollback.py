"""A step fails on one host, and everything goes back by itself on all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance import upgrade
from tests.acceptance.world import STATE, World, differences

pytestmark = pytest.mark.lab

BACKWARDS = ["check", "worker", "cache", "migrate", "peers", "limits", "config", "files", "release"]


@pytest.mark.parametrize(("count", "kind"), [(10, "debian"), (1, "busybox"), (1, "systemd")])
def test_hosts_are_as_before_when_the_ninth_of_twelve_steps_fails_on_one(
        world: Callable[..., World], count: int, kind: str) -> None:
    here = world(count, kind)
    plan = upgrade.prepare(here)
    broken = here.hosts[count // 2]
    here.lab.sh(broken, f"touch {upgrade.BROKEN}")
    before = here.trees()

    done = here.apply(plan).expect(1)

    assert differences(before, here.trees()) == []
    run, = here.journal()
    assert f"cause: check on {broken}: exit code 1" in done.out
    for host in here.hosts:
        assert f"undone on {host}: {', '.join(BACKWARDS)}" in done.out
        assert here.counts(host) == {"migrate": 1, "unmigrate": 1, "check": 1, "uncheck": 1}
        assert here.lab.sh(host, "ps | grep '[s]leep 86400'", check=False).stdout == ""
        assert not here.lab.path(host, f"{STATE}/runs/{run}").exists()


def test_the_report_for_programs_says_what_was_undone_where(world: Callable[..., World]) -> None:
    two = world(2)
    plan = upgrade.prepare(two)
    two.lab.sh(two.hosts[1], f"touch {upgrade.BROKEN}")

    result = two.apply(plan, "--json").expect(1).result

    assert (result["format"], result["version"], result["status"]) == ("ultraplan/result", 1, "rolled_back")
    assert result["undone"] == dict.fromkeys(two.hosts, BACKWARDS)
    assert result["counts"] == {"changed": 17, "failed": 1, "undone": 18}
    assert result["cause"].startswith(f"check on {two.hosts[1]}: exit code 1")
    assert result["residue"] == result["in_doubt"] == []


def test_a_dry_run_of_a_rollback_changes_nothing_and_names_hosts_that_are_away_and_changes_of_others(
        world: Callable[..., World]) -> None:
    three = world(3)
    untouched, changed, away = three.hosts
    plan = three.plan("""
- {id: folder, directory: {path: /srv/app}}
- {id: config, file: {path: /srv/app/config, content: one, mode: "0640"}}
- {id: mark, command: "touch /srv/app/mark", undo: {command: "rm /srv/app/mark"}}
""")
    three.apply(plan).expect(0)
    three.lab.sh(changed, "echo more >>/srv/app/config")
    before = three.trees(ctimes=True)
    three.lab.cut(away)
    try:
        told = three.run("rollback", "--dry-run", "--json", timeout=60).expect(0).result
    finally:
        three.lab.heal(away)

    assert differences(before, three.trees(ctimes=True)) == []
    expected = {(one["step"], one["host"]): one["expected"] for one in told["undos"]}
    assert expected == {
        ("mark", untouched): "undone", ("config", untouched): "undone", ("folder", untouched): "undone",
        ("mark", changed): "undone", ("config", changed): "conflict", ("folder", changed): "left_alone",
        ("mark", away): "unreachable", ("config", away): "left_alone", ("folder", away): "left_alone"}
    [lost] = [one for one in told["undos"] if one["expected"] == "unreachable"]
    assert "is the host up, and does a firewall let us through?" in lost["why"]
    three.run("rollback", "--yes").expect(4)
    assert not three.lab.path(untouched, "/srv/app").exists()
    assert not three.lab.path(away, "/srv/app").exists()
    assert three.text(changed, "/srv/app/config") == "onemore\n"
