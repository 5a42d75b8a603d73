"""Other accounts: sudo with and without a password; units of systemd."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance import upgrade
from tests.acceptance.world import World, differences
from tests.lab.spec import PASSWORD

pytestmark = pytest.mark.lab

WITH_PASSWORD = {"ansible_user": "oppw", "ansible_become_password": {"secret": "env:SUDO"}}


@pytest.mark.parametrize("variables", [{"ansible_user": "op"}, WITH_PASSWORD])
def test_twelve_steps_as_root_by_sudo_go_back_completely(world: Callable[..., World],
                                                         variables: dict[str, object]) -> None:
    here = world(2)
    here.env["SUDO"] = PASSWORD
    upgrade.prepare(here)
    here.plan(upgrade.STEPS, become=True)
    here.inventory({name: {} for name in here.hosts}, **variables)
    here.lab.sh(here.hosts[0], f"touch {upgrade.BROKEN}")
    before = here.trees()

    failed = here.apply("plan.yaml").expect(1)
    assert differences(before, here.trees()) == [], failed.said
    assert "rolled back: 17 changed, 1 failed, 18 undone on 2 hosts" in failed.out

    here.lab.sh(here.hosts[0], f"rm {upgrade.BROKEN}")
    done = here.apply("plan.yaml").expect(0)
    assert PASSWORD not in done.out + failed.out
    assert here.lab.sh(here.hosts[0], "stat -c '%U %G %a' /srv/app/releases/2.0").stdout == "op op 750\n"


def test_a_wrong_sudo_password_is_told_before_anything_is_touched(world: Callable[..., World]) -> None:
    here = world(1)
    here.env["SUDO"] = "wrong horse"
    here.plan("[{id: one, become: true, file: {path: /srv/one, content: '1'}}]")
    here.inventory({"one": {}}, **WITH_PASSWORD)
    before = here.trees(ctimes=True)

    done = here.apply("plan.yaml").expect(1)

    assert "cannot become root by sudo: the password was not accepted" in done.err
    assert "wrong horse" not in done.out + done.err
    assert differences(before, here.trees(ctimes=True)) == []


def test_steps_of_one_plan_run_as_different_accounts(world: Callable[..., World]) -> None:
    here = world(1)
    host, = here.hosts
    here.plan("""
- id: mine
  command: {run: "id -un >/tmp/mine", creates: /tmp/mine}
  undo: {command: rm /tmp/mine}
- id: roots
  become: true
  command: {run: "id -un >/tmp/roots; env | grep -c SECRET >>/tmp/roots", ok_exit: [0, 1], creates: /tmp/roots}
  undo: {command: rm /tmp/roots}
- id: others
  become: {user: oppw}
  file: {path: /tmp/others, content: "x", mode: "0600"}
- id: fails
  command: "false"
  irreversible: it does nothing
  when: inputs.fail
""", inputs={"fail": {"type": "boolean"}})
    here.inventory({"one": {}}, ansible_user="op")
    before = here.trees()

    here.apply("plan.yaml", "-e", "fail=false").expect(0)

    owners = here.lab.sh(host, "stat -c '%n %U %a' /tmp/mine /tmp/roots /tmp/others").stdout
    assert owners == "/tmp/mine op 644\n/tmp/roots root 644\n/tmp/others oppw 600\n"
    here.run("rollback", "--yes").expect(0)
    states = ("/home/op/.local", "/home/oppw/.local")
    left = [line for line in differences(before, here.trees()) if not any(state in line for state in states)]
    assert left == []


UNIT = """[Service]
ExecStart=/bin/sh -c 'exec sleep 86400'
[Install]
WantedBy=multi-user.target
"""


def test_a_unit_of_systemd_is_as_before_when_a_later_step_fails(world: Callable[..., World]) -> None:
    here = world(1, "systemd")
    host, = here.hosts
    for name in ("running", "idle"):
        here.lab.path(host, f"/etc/systemd/system/{name}.service").write_text(UNIT)
    here.sh("systemctl daemon-reload; systemctl enable --now running")
    here.plan("""
- id: stop
  service: {name: running, state: stopped, enabled: false}
- id: start
  service: {name: idle, state: started, enabled: true}
- id: unit
  file: {path: /etc/systemd/system/new.service, content: "{{ vars.unit }}"}
- id: reload
  command: systemctl daemon-reload
  undo: {command: systemctl daemon-reload}
- id: new
  service: {name: new, state: started, enabled: true}
- id: check
  command: "systemctl is-active idle && systemctl is-enabled new && ! systemctl is-active running && false"
  reads_only: true
""", vars={"unit": UNIT})
    before, units = here.trees(), _units(here)

    failed = here.apply("plan.yaml").expect(1)

    assert "undone on s1: new, reload, unit, start, stop" in failed.out, failed.said
    assert "active\nenabled\ninactive" in failed.out
    assert differences(before, here.trees()) == []
    assert _units(here) == units == ["active enabled", "inactive disabled", "inactive"]


def _units(here: World) -> list[str]:
    return [" ".join(here.lab.sh(here.hosts[0], f"systemctl {verb} {name}", check=False).stdout.strip()
                     for verb in ("is-active", "is-enabled")).strip() for name in ("running", "idle", "new")]
