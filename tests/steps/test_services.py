"""`service` with a pid file, on a dash host and on a busybox host: real processes, started and ended for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.steps.hostshell import HostShell
from ultraplan.secrets import marker
from ultraplan.shell import Reply
from ultraplan.steps.base import State, StepFailed
from ultraplan.steps.services import Service

STEP = Service()
UNIT = """LoadState=loaded
ActiveState={active}
SubState={sub}
UnitFileState={file}
Type={type}
Result={result}
NRestarts={restarts}
InvocationID=abc
CanReload=no
"""


class Daemon:
    """One service under test, with its files in the host's folder."""

    def __init__(self, host: HostShell) -> None:
        self.host = host
        self.pidfile = host.root / "it's a pid.pid"
        self.log = host.root / "it's a pid.log"
        self.record = Path(f"{self.pidfile}.ultraplan")
        self.seen: set[int] = set()

    def params(self, state: str, **more: Any) -> Any:
        raw = {"name": "worker", "state": state, "pidfile": str(self.pidfile), "command": ["sleep", "1000"],
               "stop_timeout": "2s", **more}
        return self.host.build(STEP, **{key: value for key, value in raw.items() if value is not None})

    def do(self, state: str, **more: Any) -> Any:
        """Apply, and give the change; fails where the step says it failed."""
        change, _, wrong = self.host.apply(STEP, self.params(state, **more))
        if self.pidfile.exists():
            self.seen.add(self.pid)
        assert wrong is None, wrong
        return change

    def undo(self, change: Any) -> None:
        reply = self.host.run(change.reverse)
        if self.pidfile.exists():
            self.seen.add(self.pid)
        assert reply.exit == 0, reply.error_text
        self.host.prefix.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def until(true: Any, seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def daemon(host: HostShell) -> Iterator[Daemon]:
    made = Daemon(host)
    yield made
    if made.pidfile.exists() and made.record.exists():
        made.seen.add(int(made.record.read_text().split()[0]))
    for pid in made.seen:
        if alive(pid) and Path(f"/proc/{pid}/cwd").exists():
            os.kill(pid, signal.SIGKILL)


def test_a_stopped_service_is_started_and_undoing_stops_it(daemon: Daemon) -> None:
    change = daemon.do("started")
    pid = daemon.pid
    assert words(pid) == ["sleep", "1000"]
    assert change.after["active"] is True and change.down == ()
    assert daemon.host.plan(STEP, daemon.params("started")) is None
    daemon.undo(change)
    assert not alive(pid) and not daemon.pidfile.exists() and not daemon.record.exists()


def test_undoing_a_start_leaves_the_folder_as_it_was_and_keeps_a_log_that_was_there(daemon: Daemon) -> None:
    talks = "echo said; exec sleep 1000"
    before = sorted(daemon.host.root.iterdir())
    change = daemon.do("started", command=talks)
    assert daemon.log.read_text() == "said\n"
    daemon.undo(change)
    assert sorted(daemon.host.root.iterdir()) == before
    daemon.log.write_text("earlier\n")
    change = daemon.do("started", command=talks)
    daemon.undo(change)
    assert daemon.log.read_text() == "earlier\nsaid\n"  # what a program said is not taken back


def test_undoing_a_restart_that_moved_the_log_removes_the_new_one(daemon: Daemon) -> None:
    daemon.do("started")
    daemon.host.prefix.unlink()
    elsewhere = daemon.host.root / "it's -n new.log"
    change = daemon.do("restarted", log=str(elsewhere))
    assert elsewhere.exists()
    daemon.undo(change)
    assert not elsewhere.exists()
    assert alive(daemon.pid) and daemon.log.exists()


def test_a_start_that_fails_leaves_no_log_once_it_is_undone(daemon: Daemon) -> None:
    change, _, wrong = daemon.host.apply(STEP, daemon.params("started", command="echo broken; exit 1"))
    assert "broken" in wrong
    assert daemon.log.exists()
    daemon.undo(change)
    assert not daemon.log.exists()


def test_a_started_service_is_free_of_the_shell_that_started_it(daemon: Daemon) -> None:
    daemon.do("started")
    fds = {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{daemon.pid}/fd").iterdir()}
    assert fds == {"0": "/dev/null", "1": str(daemon.log), "2": str(daemon.log)}
    stat = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    assert stat[3] == str(daemon.pid), "it leads its own session"
    assert str(Path(f"/proc/{daemon.pid}/cwd").readlink()) == "/"
    assert "UP_" not in Path(f"/proc/{daemon.pid}/environ").read_text().replace("UP_PRE", "").replace("UP_TMP", "")


def test_what_keeps_the_pid_is_for_its_account_only(daemon: Daemon) -> None:
    daemon.do("started")
    assert [path.stat().st_mode & 0o777 for path in (daemon.pidfile, daemon.record, daemon.log)] == [0o600] * 3


def test_undoing_a_stop_starts_what_ran_before_and_not_what_the_step_names(daemon: Daemon) -> None:
    daemon.do("started", command=["sleep", "1001"])
    daemon.host.prefix.unlink()
    change = daemon.do("stopped", command=None)
    assert change.down == ("worker",) and not daemon.pidfile.exists()
    daemon.undo(change)
    assert words(daemon.pid) == ["sleep", "1001"]


def test_a_restart_runs_the_new_command_and_its_undo_the_old_one(daemon: Daemon) -> None:
    daemon.do("started")
    first = daemon.pid
    daemon.host.prefix.unlink()
    change = daemon.do("restarted", command=["sleep", "1002"])
    assert not alive(first) and words(daemon.pid) == ["sleep", "1002"]
    daemon.undo(change)
    assert words(daemon.pid) == ["sleep", "1000"]


def test_a_restart_starts_what_does_not_run_and_its_undo_stops_it(daemon: Daemon) -> None:
    change = daemon.do("restarted")
    pid = daemon.pid
    daemon.undo(change)
    assert not alive(pid)


def test_undo_does_nothing_where_the_effect_never_began(daemon: Daemon) -> None:
    daemon.do("started")
    daemon.host.prefix.unlink()
    change = daemon.host.plan(STEP, daemon.params("stopped"))
    assert change is not None
    before = daemon.pid
    daemon.undo(change)
    assert daemon.pid == before and alive(before)


def test_undoing_twice_is_undoing_once(daemon: Daemon) -> None:
    daemon.do("started")
    daemon.host.prefix.unlink()
    change = daemon.do("stopped")
    assert change.reverse is not None
    assert daemon.host.run(change.reverse).exit == 0
    pid = daemon.pid
    daemon.undo(change)
    assert daemon.pid == pid


def test_a_number_without_a_process_is_a_stopped_service(daemon: Daemon) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    daemon.pidfile.write_text(f"{gone.pid}\n")
    assert daemon.host.state_of(STEP, daemon.params("started")).facts["active"] is False
    daemon.do("started")
    assert alive(daemon.pid) and daemon.pid != gone.pid


def test_a_recycled_number_is_never_killed(daemon: Daemon) -> None:
    daemon.do("started")
    other = subprocess.Popen(["sleep", "1000"])
    try:
        os.kill(daemon.pid, signal.SIGKILL)
        _, born, rest = daemon.record.read_text().split(" ", 2)
        daemon.record.write_text(f"{other.pid} {born} {rest}")  # another process has the service's number now
        daemon.pidfile.write_text(f"{other.pid}\n")
        assert daemon.host.plan(STEP, daemon.params("stopped")) is None
        assert daemon.host.run(daemon.host.plan(STEP, daemon.params("restarted")).forward).exit == 0  # type: ignore[union-attr]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_from_before_a_boot_is_not_the_service(daemon: Daemon) -> None:
    daemon.do("started")
    line, rest = daemon.record.read_text().split("\n", 1)
    daemon.record.write_text(f"{' '.join(line.split()[:2])} another-boot\n{rest}")
    assert daemon.host.state_of(STEP, daemon.params("started")).facts["active"] is False


def test_a_living_process_that_was_not_started_from_here_is_left_alone(daemon: Daemon) -> None:
    other = subprocess.Popen(["sleep", "1000"])
    try:
        daemon.pidfile.write_text(f"{other.pid}\n")
        for state in ("started", "stopped", "restarted"):
            with pytest.raises(StepFailed, match=f"living process {other.pid}"):
                daemon.host.plan(STEP, daemon.params(state))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_record_of_another_account_is_not_run(daemon: Daemon) -> None:
    daemon.do("started")
    os.chown(daemon.record, 65534, 65534)
    with pytest.raises(StepFailed, match="living process"):
        daemon.host.plan(STEP, daemon.params("stopped"))


def test_what_ignores_term_is_killed_after_its_time(daemon: Daemon) -> None:
    daemon.do("started", command="trap '' TERM; while :; do sleep 0.2; done")
    pid, began = daemon.pid, time.monotonic()
    _, reply, wrong = daemon.host.apply(STEP, daemon.params("stopped", stop_timeout="500ms"))
    assert wrong is None and "was killed" in reply.error_text
    assert not alive(pid) and 0.5 <= time.monotonic() - began < 5


def test_a_service_gets_the_time_to_end_by_itself(daemon: Daemon) -> None:
    done = daemon.host.root / "ended in order"
    daemon.do("started", command=f"trap 'sleep 0.3; echo >\"{done}\"; exit' TERM; while :; do sleep 0.1; done")
    daemon.do("stopped")
    assert done.exists()


def test_what_a_service_forked_ends_with_it(daemon: Daemon) -> None:
    child = daemon.host.root / "child"
    daemon.do("started", command=f"(trap '' TERM; sleep 1000 & echo $! >'{child}'; wait) & sleep 1000")
    assert until(lambda: child.exists() and child.read_text().strip())
    pids = [daemon.pid, int(child.read_text())]
    daemon.seen.update(pids)
    daemon.do("stopped", stop_timeout="500ms")
    assert not any(map(alive, pids))


def test_a_service_that_ends_at_once_fails_with_its_last_words_and_leaves_nothing(daemon: Daemon) -> None:
    change, reply, wrong = daemon.host.apply(STEP, daemon.params("started", command="echo no config >&2; exit 3"))
    assert reply.exit != 0 and wrong is not None and "no config" in wrong
    assert not daemon.pidfile.exists() and not daemon.record.exists()
    daemon.undo(change)


def test_a_program_that_does_not_exist_fails_with_its_name(daemon: Daemon) -> None:
    _, _, wrong = daemon.host.apply(STEP, daemon.params("started", command=["/no/such program"]))
    assert wrong is not None and "/no/such program" in wrong


def test_a_log_that_cannot_be_written_fails_before_anything_runs(daemon: Daemon) -> None:
    ran = daemon.host.root / "ran"
    _, _, wrong = daemon.host.apply(
        STEP, daemon.params("started", log="/proc/nowhere/log", command=["touch", str(ran)]))
    assert wrong is not None and "could not be started" in wrong and not ran.exists()


def test_reload_sends_hup_and_keeps_the_process(daemon: Daemon) -> None:
    got = daemon.host.root / "got"
    daemon.do("started", command=f"trap 'echo >\"{got}\"' HUP; while :; do sleep 0.1; done")
    daemon.host.prefix.unlink()
    pid = daemon.pid
    daemon.do("reloaded")
    assert until(got.exists) and daemon.pid == pid


def test_words_of_a_command_are_data(daemon: Daemon) -> None:
    nasty = ["-rf", "a b", "it's", "$(touch owned)", ";touch owned", "ünï\ncode", "`touch owned`", "*", ""]
    code = "import sys,time; print(sys.argv[1:], flush=True); time.sleep(100)"
    command = [sys.executable, "-c", code, *nasty]
    daemon.do("started", command=command, chdir=str(daemon.host.root))
    assert until(lambda: daemon.log.read_text().count("\n") > 0)
    assert daemon.log.read_text().strip() == repr(nasty)
    daemon.host.prefix.unlink()
    daemon.undo(daemon.do("stopped", command=None))
    assert until(lambda: daemon.log.read_text().count("\n") > 1)
    assert daemon.log.read_text().splitlines() == [repr(nasty)] * 2
    assert not (daemon.host.root / "owned").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes accounts")
def test_a_service_runs_as_another_account(daemon: Daemon) -> None:
    daemon.do("started", user="nobody", command='[ "$USER" = nobody ] && exec /bin/sleep 1000')
    uid = Path(f"/proc/{daemon.pid}").stat().st_uid
    assert uid != 0
    daemon.do("stopped")
    assert not any(map(alive, daemon.seen))


def test_a_secret_in_the_command_is_refused(daemon: Daemon) -> None:
    with pytest.raises(StepFailed, match="process list"):
        daemon.host.plan(STEP, daemon.params("started", command=["x", marker("env:A")]))


@pytest.mark.parametrize(("raw", "said"), [
    ({"name": "x"}, "neither `state` nor `enabled`"),
    ({"name": "x", "state": "started", "pidfile": "/a"}, "needs the `command`"),
    ({"name": "x", "state": "started", "command": "a", "enabled": True}, "cannot start a service at boot"),
    ({"name": "x", "state": "started", "manager": "systemd", "command": "a"}, "is for `manager: pidfile`"),
])
def test_static_mistakes_are_found(raw: dict[str, Any], said: str) -> None:
    assert any(said in message for _, message in STEP.check(raw))


def unit(params: dict[str, Any], **told: str) -> tuple[Any, State]:
    from ultraplan.steps.params import build

    typed = build(STEP, {"name": "nginx", **params}, lambda kind, name: None)
    facts = {"active": "active", "sub": "running", "file": "enabled", "type": "simple", "result": "success",
             "restarts": "0", **told}
    return typed, STEP.observe(typed, Reply(0, UNIT.format(**facts).encode()))


@pytest.mark.parametrize(("params", "told", "summary", "after"), [
    ({"state": "started"}, {}, None, None),
    ({"state": "started", "enabled": True}, {"active": "inactive", "file": "disabled"}, "start and enable",
     {"manager": "systemd", "active": True, "enabled": "enabled"}),
    ({"state": "stopped"}, {"active": "failed"}, None, None),
    ({"state": "stopped", "enabled": False}, {}, "stop and disable",
     {"manager": "systemd", "active": False, "enabled": "disabled"}),
    ({"state": "restarted"}, {}, "restart", {"manager": "systemd", "active": True, "enabled": "enabled"}),
    ({"state": "restarted"}, {"active": "inactive"}, "start",
     {"manager": "systemd", "active": True, "enabled": "enabled"}),
    ({"enabled": False}, {"file": "static"}, None, None),
    ({"state": "started"}, {"active": "activating", "sub": "auto-restart"}, "start",
     {"manager": "systemd", "active": True, "enabled": "enabled"}),
    ({"state": "started"}, {"active": "inactive", "type": "oneshot"}, "start", None),
])
def test_what_is_left_to_do_for_a_unit(params: dict[str, Any], told: dict[str, str], summary: str | None,
                                       after: dict[str, Any] | None) -> None:
    typed, state = unit(params, **told)
    change = STEP.decide(typed, state)
    assert (change and change.summary, change and change.after) == (summary, after)


def test_a_unit_that_crashed_and_was_started_again_by_systemd_is_not_up() -> None:
    typed, state = unit({"state": "started"}, restarts="1")
    assert "started again" in (STEP.verify(typed, state, Reply(0, b"instance abc:0\n")) or "")
    assert STEP.verify(typed, state, Reply(0, b"instance abc:1\n")) is None


def test_a_oneshot_unit_is_done_when_it_has_run() -> None:
    typed, state = unit({"state": "started"}, active="inactive", type="oneshot")
    assert STEP.verify(typed, state, Reply(0, b"instance abc:0\n")) is None
    typed, state = unit({"state": "started"}, active="failed", type="oneshot", result="exit-code")
    assert "does not stay up" in (STEP.verify(typed, state, Reply(0)) or "")


@pytest.mark.parametrize(("params", "said", "match"), [
    ({"state": "started"}, "LoadState=not-found\n", "no unit nginx"),
    ({"state": "started"}, "none\n", "no systemd runs"),
    ({"state": "started"}, "LoadState=masked\nActiveState=inactive\n", "masked"),
    ({"enabled": True}, "LoadState=loaded\nActiveState=active\nUnitFileState=static\n", "is static"),
    ({"state": "reloaded"}, "LoadState=loaded\nActiveState=active\nCanReload=no\n", "cannot reload"),
])
def test_what_cannot_be_done_for_a_unit_is_said(params: dict[str, Any], said: str, match: str) -> None:
    from ultraplan.steps.params import build

    typed = build(STEP, {"name": "nginx", **params}, lambda kind, name: None)
    with pytest.raises(StepFailed, match=match):
        STEP.decide(typed, STEP.observe(typed, Reply(0, said.encode())))
