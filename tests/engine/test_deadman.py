"""The dead-man on a host: the real functions in real shells, its timer, and thousands of races for its receipt."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ultraplan.shell import library, quote

SHELLS = (["dash"], ["busybox", "sh"])
NAMES = """\
UP={0} UP_HOST=key UP_RUN={0}/runs/run UP_TMP={0}/runs/run/tmp UP_PRE={0}/runs/run/op.pre
export UP_PRE UP_TMP
"""


class Host:
    """A state directory on this machine with one operation, ``op.1``, and its dead-man, ``op.d1``."""

    def __init__(self, folder: Path, shell: list[str]) -> None:
        self.folder, self.shell = folder, shell
        self.run = folder / "runs" / "run"
        self.dead, self.marker = self.run / "op.d1", folder / "armed.op.d1"
        self.log = folder / "log"
        self.sh(f"up_open {quote(str(folder))} run 5 key")
        # What the timer starts is `sh`; here it is the shell that is tested.
        bin_ = folder / "bin"
        bin_.mkdir()
        (bin_ / "sh").write_text(f"#!/bin/sh\nexec {' '.join(shell)} \"$@\"\n")
        (bin_ / "sh").chmod(0o755)

    def sh(self, text: str, **options: object) -> subprocess.CompletedProcess[str]:
        names = NAMES.format(quote(str(self.folder)))
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"}
        return subprocess.run([*self.shell, "-c", f"{library()}\n{names}{text}"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=60, env=environment,
                              start_new_session=True, **options)  # type: ignore[call-overload, no-any-return]

    def script(self, seconds: int, undo: str, kind: str = "own") -> str:
        words = " ".join(map(quote, (str(self.dead), str(self.run / "op.1"), str(seconds), kind, undo)))
        return f"{library()}\n{NAMES.format(quote(str(self.folder)))}up_watch {words}"

    def arm(self, seconds: int, undo: str | None = None, kind: str = "own", epoch: int = 5) -> int:
        undo = f"echo undone >>{quote(str(self.log))}" if undo is None else undo
        done = self.sh(f"up_arm {quote(str(self.dead))} {epoch} {quote(self.script(seconds, undo, kind))}")
        assert done.stdout == ""
        return done.returncode

    def effect(self, text: str = ":") -> int:
        return self.sh(f"up_effect {quote(str(self.run / 'op.1'))} 5 {quote(text)}").returncode

    def disarm(self, epoch: int = 5) -> str:
        done = self.sh(f"up_disarm {quote(str(self.dead))} {epoch}")
        return done.stdout.strip() if done.returncode == 0 else f"exit {done.returncode}"

    def undone(self) -> int:
        return self.log.read_text().count("undone") if self.log.exists() else 0

    def timer(self) -> int:
        """The timer's process id."""
        return int(self.marker.read_text().split()[2])


@pytest.fixture(params=SHELLS, ids=" ".join)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path, request.param)
    yield made
    for process in timers(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def timers(folder: Path) -> list[int]:
    """The processes whose command line names ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_what_is_not_confirmed_is_undone_once_and_not_before_its_time(host: Host) -> None:
    began = time.monotonic()
    assert host.arm(1) == 0
    assert host.effect() == 0
    assert host.undone() == 0
    until(lambda: host.undone() == 1)
    assert time.monotonic() - began >= 1
    until(lambda: not timers(host.folder))
    assert re.fullmatch(r"claim 5 \d+ \d+ \S+\nsession \d+ \d+\nexit 0\n", host.dead.read_text())
    assert host.disarm().startswith("claim 5 ")
    assert host.undone() == 1
    assert not host.marker.exists()
    assert not list(host.run.glob("*.armed"))


def test_what_is_confirmed_stays_and_its_timer_is_gone_at_once(host: Host) -> None:
    assert host.arm(2) == 0
    assert host.effect() == 0
    assert len(timers(host.folder)) == 1
    assert host.disarm() == "never confirmed"
    until(lambda: not timers(host.folder), 0.9)
    assert not host.marker.exists()
    assert not list(host.run.glob("*.armed"))
    time.sleep(2.5)
    assert host.undone() == 0
    assert host.disarm() == "never confirmed"


def test_what_never_began_is_not_undone_and_never_begins(host: Host) -> None:
    assert host.arm(1) == 0
    until(lambda: not timers(host.folder))
    assert host.effect() == 97
    assert host.disarm() == "never began"
    assert host.undone() == 0


def test_what_was_not_armed_is_never_armed_after_it_was_settled(host: Host) -> None:
    assert host.disarm() == "never unarmed"
    assert host.arm(1) == 97
    assert not timers(host.folder)


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_an_effect_that_still_runs_is_ended_before_it_is_undone(host: Host, kind: str) -> None:
    assert host.arm(1) == 0
    claim = "up_effect" if kind == "own" else "up_foreign"
    slow = f"sleep 5; echo late >>{quote(str(host.log))}"
    began = time.monotonic()
    host.sh(f"{claim} {quote(str(host.run / 'op.1'))} 5 {quote(slow)}")
    assert time.monotonic() - began < 4.9
    until(lambda: host.undone() == 1)
    time.sleep(max(0.0, began + 5.5 - time.monotonic()))
    assert host.log.read_text() == "undone\n"


def test_an_undo_that_is_a_persons_own_program_has_its_environment_and_its_exit_code(host: Host) -> None:
    undo = f"export word='a secret'\nprintf '%s %s\\n' \"$word\" \"${{UP_TEXT-gone}}\" >{quote(str(host.log))}; exit 7"
    assert host.arm(1, undo, "foreign") == 0
    assert host.effect() == 0
    until(lambda: host.dead.exists() and "exit 7" in host.dead.read_text())
    assert host.log.read_text() == "a secret gone\n"


def test_nobody_else_can_read_what_is_armed_and_no_process_list_shows_it(host: Host) -> None:
    assert host.arm(2, "echo 'correct horse'") == 0
    armed = host.run / "op.d1.armed"
    assert "correct horse" in armed.read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (armed, host.marker)] == [0o600, 0o600]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            shown = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        assert b"correct horse" not in shown, entry
    assert host.disarm() == "never confirmed"
    assert not armed.exists()


def test_a_timer_outlives_whoever_armed_it(host: Host) -> None:
    assert host.arm(1) == 0
    assert host.effect() == 0
    pid = host.timer()
    assert os.getsid(pid) == pid
    assert [str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in range(3)] == ["/dev/null"] * 3
    os.kill(pid, signal.SIGCONT)
    until(lambda: host.undone() == 1)


def test_a_lower_epoch_arms_and_disarms_nothing(host: Host) -> None:
    assert host.arm(1, epoch=4) == 98
    assert host.arm(3) == 0
    assert host.sh(f"up_open {quote(str(host.folder))} run 6 key").returncode == 0
    assert host.disarm(5) == "exit 98"
    assert host.disarm(6) == "never confirmed"


def test_a_takeover_does_not_keep_a_host_from_undoing(host: Host) -> None:
    assert host.arm(1) == 0
    assert host.effect() == 0
    assert host.sh(f"up_open {quote(str(host.folder))} run 6 key").returncode == 0
    until(lambda: host.undone() == 1)
    assert host.disarm(6).startswith("claim 6 ")


def test_another_run_may_not_begin_while_a_timer_goes(host: Host) -> None:
    assert host.arm(30) == 0
    opened = host.sh(f"up_open {quote(str(host.folder))} other 6 key")
    assert opened.returncode == 95
    assert re.search(r"run run waits for a step of its own to be confirmed here; in (29|30|31) s", opened.stderr)
    assert (host.folder / "epoch.key").read_text() == "5\n"
    assert host.disarm() == "never confirmed"
    assert host.sh(f"up_open {quote(str(host.folder))} other 6 key").returncode == 0


def test_a_timer_that_died_is_told_once_its_time_is_over(host: Host) -> None:
    assert host.arm(1) == 0
    assert host.effect() == 0
    os.kill(host.timer(), signal.SIGKILL)
    time.sleep(2.2)
    assert host.disarm() == "never late"
    assert (host.undone(), host.marker.exists()) == (0, False)


def test_a_timer_of_before_a_reboot_confirms_nothing(host: Host) -> None:
    assert host.arm(9) == 0
    assert host.effect() == 0
    os.kill(host.timer(), signal.SIGKILL)
    of, _, *rest = host.marker.read_text().split()
    host.marker.write_text(" ".join((of, "another-boot", *rest)) + "\n")
    assert host.sh(f"up_open {quote(str(host.folder))} other 6 key").returncode == 0
    assert host.disarm(6) == "never rebooted"
    assert not host.marker.exists()


def test_forgetting_a_run_ends_its_timer_without_an_undo(host: Host) -> None:
    assert host.arm(1) == 0
    assert host.effect() == 0
    assert host.sh(f"up_forget {quote(str(host.folder))} run").returncode == 0
    until(lambda: not timers(host.folder), 0.9)
    assert (host.undone(), host.run.exists(), host.marker.exists()) == (0, False, False)


def test_a_timer_whose_folder_is_gone_does_nothing(host: Host) -> None:
    assert host.arm(1) == 0
    assert host.effect() == 0
    host.run.rename(host.folder / "aside")
    until(lambda: not timers(host.folder))
    assert host.undone() == 0


RACERS = """
{library}
{names}
i=0
while [ $i -lt {rounds} ]; do
  rm -f -- "$UP_RUN"/op.d1
  echo go
  up_disarm "$UP_RUN"/op.d1 5 &
  up_fire "$UP_RUN"/op.d1 "$UP_RUN"/op.1 1 own 'echo undone' >/dev/null
  wait
  read -r word rest <"$UP_RUN"/op.d1
  echo "receipt $word"
  up_output "$UP_RUN"/op.d1; rm -f -- "$UP_RUN"/op.d1.out
  i=$((i + 1))
done
"""


def race(host: Host, rounds: int) -> dict[str, int]:
    """Let a timer that fires and a controller that disarms race, in two processes; who won how often."""
    assert host.effect() == 0
    names = NAMES.format(quote(str(host.folder)))
    done = subprocess.run([*host.shell, "-c", RACERS.format(library=library(), names=names, rounds=rounds)],
                          capture_output=True, text=True, check=True, timeout=600)
    won = {"timer": 0, "controller": 0}
    for told in done.stdout.split("go\n")[1:]:
        lines = told.splitlines()
        said, receipt, undone = lines[0], lines[1], lines[2:]
        if receipt == "receipt claim":
            assert said.startswith("claim 5 "), told
            assert undone == ["undone"], told
            won["timer"] += 1
        else:
            assert (said, receipt, undone) == ("never unarmed", "receipt never", []), told
            won["controller"] += 1
    assert sum(won.values()) == rounds
    return won


def test_in_a_race_exactly_one_of_timer_and_controller_wins(host: Host) -> None:
    race(host, 300)


@pytest.mark.long
def test_in_thousands_of_races_both_win_and_never_both_at_once(host: Host) -> None:
    won = race(host, 2000)
    assert min(won.values()) > 0, won
