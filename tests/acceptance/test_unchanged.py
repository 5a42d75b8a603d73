"""What changes nothing really changes nothing: previews, and plans that are applied again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance import upgrade
from tests.acceptance.world import COUNTER, NOT_COMPARED, World, differences

pytestmark = pytest.mark.lab

WITHOUT_COMMANDS = ("migrate", "check", "count")


@pytest.mark.parametrize("kind", ["debian", "busybox", "systemd"])
def test_a_plan_that_is_applied_again_changes_nothing_and_says_so(world: Callable[..., World], kind: str) -> None:
    here = world(1, kind)
    upgrade.prepare(here)
    steps = [step for step in upgrade.steps() if step["id"] not in WITHOUT_COMMANDS]
    steps.append({"id": "once", "command": {"run": f"echo once >>{COUNTER}; touch /srv/app/once",
                                            "creates": "/srv/app/once"},
                  "undo": {"command": "rm /srv/app/once"}})
    plan = here.plan(steps)
    here.apply(plan).expect(0)
    before = here.trees(ctimes=True)

    again = here.apply(plan).expect(0)

    assert "nothing to do" in again.out
    assert differences(before, here.trees(ctimes=True)) == []
    assert here.apply(plan, "--json").expect(0).result["status"] == "nothing"
    assert here.on("plan", plan, "--detailed-exitcode").expect(0).code == 0
    assert here.counts(here.hosts[0]) == {"once": 1}


@pytest.mark.parametrize(("kind", "keys", "variables"), [
    ("debian", {}, {}),
    ("debian", {"become": True}, {"ansible_user": "op"}),
    ("busybox", {}, {}),
    ("systemd", {"become": True}, {"ansible_user": "op"}),
])
def test_a_preview_touches_nothing_on_a_host(world: Callable[..., World], kind: str, keys: dict[str, object],
                                             variables: dict[str, str]) -> None:
    here = world(1, kind)
    upgrade.prepare(here)
    plan = here.plan(upgrade.STEPS, **keys)
    here.inventory({"target": {}}, **variables)
    everything = here.lab.tree(here.hosts[0], ctimes=True)

    done = here.on("plan", plan, "--detailed-exitcode").expect(2)

    assert "+listen = 8080" in done.out and "-listen = 80" in done.out, done.said
    after = here.lab.tree(here.hosts[0], ctimes=True)
    logs = [top for top in NOT_COMPARED if top.startswith("/var/log")]
    assert [path for path in after if after[path] != everything.get(path)
            and not path.startswith(tuple(logs))] == []
    assert after.keys() - everything.keys() <= {path for path in after if path.startswith(tuple(logs))}
    assert here.counts(here.hosts[0]) == {}
