"""One cell's world: its hosts, a person's folder, and the real program, started, stopped and killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.plan import plan_text
from tests.crash.sites import Host, Power
from ultraplan.journal.events import Record
from ultraplan.journal.stores import open_store

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "ultraplan.cli.main")
PATIENCE = 90.0
"""Seconds that anything may take."""


@dataclass(frozen=True)
class Done:
    """How the program ended. ``code``: negative for the signal that ended it."""

    verb: str
    code: int
    said: str

    @property
    def result(self) -> dict[str, Any]:
        """The closing document of ``--json``."""
        lines = [line for line in self.said.splitlines() if line.startswith('{"format": "ultraplan/result"')]
        assert lines, f"{self.verb} did not close the run: exit {self.code}\n{self.said}"
        result: dict[str, Any] = json.loads(lines[-1])
        return result


class World:
    """A person's folder with the plan and an inventory of ``hosts``."""

    def __init__(self, folder: Path, hosts: list[Host], kind: str, serial: int | None = None,
                 power: Power | None = None) -> None:
        self.folder, self.hosts, self.kind, self.power = folder, hosts, kind, power
        self.state = folder / "state"
        self.story: list[str] = []
        """What was done, for a person who looks into a wrong cell."""
        self._number = 0
        self._started: dict[int, tuple[int, str]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        listed = {host.name: {**host.machine.variables, "ultraplan_state_dir": f"{host.base}/state"} for host in hosts}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": listed}}))
        (folder / "plan.yaml").write_text(plan_text(kind, hosts[0].base, serial))
        (folder / "ssh_config").write_text("Host *\n  ConnectTimeout 5\n  ServerAliveInterval 1\n")
        (folder / "ultraplan.yaml").write_text("ssh_config: ssh_config\ninventory: hosts.json\n")
        info = folder / "site" / "crash_marks-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crash-marks\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[ultraplan.steps]\nmark = tests.crash.marks:Mark\n")

    @property
    def victim(self) -> Host:
        """The host that things happen to: the middle one."""
        return self.hosts[len(self.hosts) // 2]

    # -- the program --------------------------------------------------------------------------------------------

    def start(self, verb: str, *words: str, fault: str = "", stop: bool = False) -> subprocess.Popen[bytes]:
        """The program, with a fault point armed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ULTRAPLAN", "XDG", "SSH"))}
        environment = {**kept, "PYTHONPATH": f"{REPOSITORY}:{self.folder / 'site'}", "HOME": str(self.folder),
                       "ULTRAPLAN_STATE": str(self.state), "ULTRAPLAN_FAULT": fault,
                       "ULTRAPLAN_FAULT_ACTION": "stop" if stop else ""}
        command = [*PROGRAM, verb, *words]
        if self.power is not None:
            command = self.power.wrap(command)
        self._number += 1
        self.story.append(f"{verb} {' '.join(words)} {f'[{fault}]' if fault else ''}")
        with self._said(self._number).open("wb") as out:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=out, start_new_session=True)
        self._processes.append(process)
        self._started[process.pid] = (self._number, verb)
        if self.power is not None:
            self.power.started(process)
        return process

    def start_apply(self, *, fails: bool = False, fault: str = "", stop: bool = False) -> subprocess.Popen[bytes]:
        """`apply`; with ``fails`` the last step does."""
        return self.start("apply", "plan.yaml", "--yes", "-e", f"code={int(fails)}", fault=fault, stop=stop)

    def end(self, process: subprocess.Popen[bytes]) -> Done:
        """Its end."""
        number, verb = self._started[process.pid]
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            said = self._said(number).read_text()
            raise AssertionError(f"{verb} did not end within {PATIENCE:g} s\n{said}") from None
        said = self._said(number).read_text(errors="replace")
        self.story += [f"  exit {code}", *(f"    {line[:400]}" for line in said.strip().splitlines()[-12:])]
        assert "Traceback" not in said, f"a traceback reached the person\n{said}"
        return Done(verb, code, said)

    def run(self, verb: str, *words: str, fault: str = "") -> Done:
        """The program, run to its end."""
        return self.end(self.start(verb, *words, fault=fault))

    def killed(self, process: subprocess.Popen[bytes]) -> None:
        """It has to be killed by its fault point."""
        done = self.end(process)
        assert done.code in (-signal.SIGKILL, 128 + signal.SIGKILL), f"the fault point was not passed: {done.said}"

    def stopped(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the fault point stops it."""
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if process.poll() is not None:
            raise AssertionError(f"the fault point was not passed: {self.end(process).said}")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL from outside."""
        assert process.poll() is None, f"it ended too early: {self.end(process).said}"
        process.kill()
        process.wait()
        self.story.append("  killed")

    def stop(self) -> None:
        """Nothing that was started here runs any more."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    # -- what a person sees -------------------------------------------------------------------------------------

    def shown(self) -> dict[str, Any]:
        """`runs show --json` of the run."""
        done = self.run("runs", "show", "--json")
        assert done.code == 0, done.said
        shown: dict[str, Any] = json.loads(done.said.splitlines()[-1])
        return shown

    def next_command(self, shown: dict[str, Any], verb: str) -> list[str]:
        """The command beginning with ``verb`` that `runs show` says to type next."""
        found = [line for line in shown["next"] if line.startswith(f"ultraplan {verb} ")]
        assert found, f"`runs show` names no {verb}: {shown['next']}"
        words = shlex.split(found[0].partition("   ")[0])[1:]
        return [*words, "--yes"] if verb == "rollback" else words  # nobody is at a terminal

    # -- the journal, from outside ------------------------------------------------------------------------------

    def journal(self) -> list[Record]:
        """What is in the journal of the run."""
        store = open_store(self.state / "journal.db")
        try:
            return list(store.read(store.find("last")))
        finally:
            store.close()

    def lease_expires(self) -> None:
        """As if nobody had renewed the locks for a minute."""
        with sqlite3.connect(self.state / "journal.db", timeout=10) as database:
            database.execute("UPDATE leases SET renewed = renewed - 60, ticks = ticks - 60")
        database.close()
        self.story.append("  a minute passes")

    def _said(self, number: int) -> Path:
        return self.folder / f"said.{number}"


def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it did not come to that: {what}"
        time.sleep(0.02)
