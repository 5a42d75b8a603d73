"""A host whose key is another one than it was: nothing is sent to it, whenever that happens."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.acceptance.world import COUNTER, World, differences

pytestmark = pytest.mark.lab

STEPS = f"""
- {{id: config, file: {{path: /srv/config, content: "new\\n"}}}}
- id: count
  command: "echo did >>{COUNTER}"
  undo: {{command: "echo undid >>{COUNTER}"}}
"""
KEY = "/etc/ssh/ssh_host_ed25519_key"
NEW_KEY = (f"cp -p {KEY} {KEY}.old; cp -p {KEY}.pub {KEY}.pub.old; rm {KEY} {KEY}.pub; "
           f"ssh-keygen -q -t ed25519 -N '' -f {KEY}; kill -HUP $(pgrep -of 'sshd -D')")
OLD_KEY = f"mv {KEY}.old {KEY}; mv {KEY}.pub.old {KEY}.pub; kill -HUP $(pgrep -of 'sshd -D')"


def test_between_plan_and_apply(world: Callable[..., World]) -> None:
    here = world(1)
    host, = here.hosts
    plan = here.plan(STEPS)
    here.on("plan", plan, "-o", "saved.plan").expect(0)
    before = here.trees()
    here.sh(NEW_KEY)

    for done in (here.run("apply", "saved.plan", "--yes"), here.apply(plan)):
        assert done.code in (1, 3), done.said
        assert "has CHANGED" in done.out + done.err, done.said
        assert "nothing was touched" in done.err, done.said
    here.sh(OLD_KEY)
    assert differences(before, here.trees()) == []
    assert here.counts(host) == {}
    here.run("apply", "saved.plan", "--yes").expect(0)


def test_between_apply_and_resume(world: Callable[..., World]) -> None:
    here = world(1)
    host, = here.hosts
    before = here.trees()
    here.env["ULTRAPLAN_FAULT"] = "after-effect@count"
    assert here.apply(here.plan(STEPS)).code == -signal.SIGKILL
    here.env.clear()
    assert here.counts(host) == {"did": 1}
    here.sh(NEW_KEY)

    kept = here.run("resume", timeout=60)

    assert kept.code in (1, 4), kept.said
    assert "has CHANGED" in kept.out + kept.err, kept.said
    assert here.counts(host) == {"did": 1}, "nothing was sent to a host that may be another one"
    here.sh(OLD_KEY)
    here.run("resume", timeout=60).expect(1)
    assert here.counts(host) == {"did": 1, "undid": 1}
    assert differences(before, here.trees()) == []
