"""`service` on a host that runs systemd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lab import Kind, Lab
from ultraplan.shell import Program, Reply, library
from ultraplan.steps.base import Change, StepFailed
from ultraplan.steps.params import build
from ultraplan.steps.services import Service

pytestmark = pytest.mark.lab
STEP = Service()
GOOD = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"


class Machine:
    """The systemd host, and what the engine would do with it."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.lab, self.host = lab, host

    def unit(self, name: str, text: str) -> None:
        self.lab.path(self.host, f"/etc/systemd/system/{name}.service").write_text(text)

    def run(self, program: Program) -> Reply:
        text = f"UP_PRE=/root/pre\n{library()}\n( {program.text}\n)"
        done = self.lab.sh(self.host, text, check=False)
        return Reply(done.returncode, done.stdout.encode(), done.stderr.encode())

    def plan(self, **raw: Any) -> Change | None:
        params = build(STEP, {"name": "worker", **raw}, lambda kind, name: None)
        return STEP.decide(params, STEP.observe(params, self.run(STEP.probe(params))))

    def apply(self, **raw: Any) -> tuple[Change, str | None]:
        """The change, and what is wrong after it; the next one starts without a pre-image."""
        params = build(STEP, {"name": "worker", **raw}, lambda kind, name: None)
        change = self.plan(**raw)
        assert change is not None and change.forward is not None
        reply = self.run(change.forward)
        return change, STEP.verify(params, STEP.observe(params, self.run(STEP.probe(params))), reply)

    def undo(self, change: Change) -> None:
        assert change.reverse is not None
        for _ in ("once", "twice"):
            reply = self.run(change.reverse)
            assert reply.exit == 0, reply.error_text

    def show(self, *properties: str) -> list[str]:
        told = self.lab.sh(self.host, f"systemctl show -p {','.join(properties)} worker").stdout
        found = dict(line.partition("=")[::2] for line in told.splitlines())
        return [found[name] for name in properties]


@pytest.fixture
def machine(lab: Lab, lab_hosts: Callable[..., list[str]]) -> Machine:
    return Machine(lab, lab_hosts(1, Kind.SYSTEMD)[0])


def test_a_unit_is_started_and_enabled_and_undoing_takes_both_back(machine: Machine) -> None:
    machine.unit("worker", GOOD)
    change, wrong = machine.apply(state="started", enabled=True)
    assert (wrong, change.summary) == (None, "start and enable")
    assert machine.show("ActiveState", "UnitFileState") == ["active", "enabled"]
    assert machine.plan(state="started", enabled=True) is None
    machine.undo(change)
    assert machine.show("ActiveState", "UnitFileState") == ["inactive", "disabled"]


def test_a_unit_is_stopped_and_disabled_and_undoing_brings_it_back(machine: Machine) -> None:
    machine.unit("worker", GOOD)
    machine.lab.sh(machine.host, "systemctl enable --now worker")
    change, wrong = machine.apply(state="stopped", enabled=False)
    assert (wrong, change.down) == (None, ("worker",))
    assert machine.show("ActiveState", "UnitFileState") == ["inactive", "disabled"]
    machine.undo(change)
    assert machine.show("ActiveState", "UnitFileState") == ["active", "enabled"]


def test_a_restart_reads_the_unit_file_that_was_changed_before_it(machine: Machine) -> None:
    machine.unit("worker", GOOD)
    machine.lab.sh(machine.host, "systemctl daemon-reload; systemctl start worker")
    before, = machine.show("InvocationID")
    machine.unit("worker", GOOD.replace("1000", "2000"))
    _, wrong = machine.apply(state="restarted")
    after, command = machine.show("InvocationID", "ExecStart")
    assert wrong is None and after != before and "sleep 2000" in command


def test_a_unit_that_fails_says_why(machine: Machine) -> None:
    machine.unit("worker", "[Service]\nType=notify\nExecStart=/bin/sh -c 'echo no database; exit 3'\n")
    _, wrong = machine.apply(state="started")
    assert wrong is not None and "worker.service" in wrong


def test_a_unit_that_systemd_starts_again_and_again_is_not_up(machine: Machine) -> None:
    machine.unit("worker", "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=200ms\n"
                           "[Unit]\nStartLimitIntervalSec=0\n")
    _, wrong = machine.apply(state="started")
    assert wrong is not None and "does not stay up" in wrong


def test_a_oneshot_unit_is_done_when_it_has_run(machine: Machine) -> None:
    machine.unit("worker", "[Service]\nType=oneshot\nExecStart=/bin/touch /root/ran\n")
    change, wrong = machine.apply(state="started")
    assert (wrong, change.after) == (None, None)
    assert machine.lab.path(machine.host, "/root/ran").exists()


def test_a_unit_that_cannot_reload_says_what_to_do_instead(machine: Machine) -> None:
    machine.unit("worker", GOOD)
    machine.lab.sh(machine.host, "systemctl start worker")
    with pytest.raises(StepFailed, match="use `state: restarted`"):
        machine.plan(state="reloaded")


@pytest.mark.parametrize(("raw", "said"), [
    ({"state": "started"}, "no unit worker"),
    ({"name": "systemd-journald", "enabled": True}, "cannot be enabled"),
])
def test_what_cannot_be_done_is_said(machine: Machine, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(StepFailed, match=said):
        machine.plan(**raw)


def test_a_masked_unit_is_not_started(machine: Machine) -> None:
    machine.unit("worker", GOOD)
    machine.lab.sh(machine.host, "rm /etc/systemd/system/worker.service; systemctl mask worker")
    with pytest.raises(StepFailed, match="masked"):
        machine.plan(state="started")


def test_without_systemd_a_unit_cannot_be_and_that_is_said(lab: Lab, lab_hosts: Callable[..., list[str]]) -> None:
    with pytest.raises(StepFailed, match="no systemd runs on this host"):
        Machine(lab, lab_hosts(1, Kind.BUSYBOX)[0]).plan(state="started")
