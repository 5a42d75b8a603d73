"""Where a cell's hosts are: this machine, one host over SSH, or five; each host with a folder of the cell's own.

What a test does to a host (looks, holds, kills, reboots) goes past the program under test: through the file system and
namespaces of the lab, never over SSH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.crash.disks import Disk
from tests.lab import Lab

FLEET = 5
"""Hosts of a fleet."""

Tree = dict[str, tuple[str, str]]


class Machine(Protocol):
    """What differs between this machine and a host of the lab."""

    name: str
    variables: dict[str, Any]

    def path(self, inside: str) -> Path:
        """The host's file as it is reached from here."""

    def sh(self, command: str) -> str:
        """Run as root on the host; gives what it printed."""

    def disk(self, at: str) -> Disk:
        """A disk of its own at ``at`` on the host."""


@dataclass
class Host:
    """A host with the cell's folder on it: ``tree`` is what the plan manages; the log, what holds effects up and the
    program's own state are beside it."""

    machine: Machine
    base: str
    disks: list[Disk] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.machine.name

    def path(self, name: str) -> Path:
        return self.machine.path(f"{self.base}/{name}")

    def prepare(self, names: str) -> None:
        """The tree as it is before a run."""
        self.path("tree").mkdir(parents=True)
        self.path("tree/names").write_text(names)
        self.path("tree/names").chmod(0o644)

    def remove(self) -> None:
        """Whatever the cell left."""
        for disk in self.disks:
            disk.remove()
        shutil.rmtree(self.machine.path(self.base), ignore_errors=True)

    def hold(self, name: str) -> None:
        """Let the effect ``name`` wait in the middle."""
        self.path(f"hold.{name}").touch()

    def let_go(self, name: str) -> None:
        self.path(f"hold.{name}").unlink(missing_ok=True)

    def kill_effect(self, name: str, *, foreign: bool) -> None:
        """SIGKILL for what the effect runs in, so that nobody is left to write how it ended. ``foreign``: a person's
        program, which has a session of its own; its leader goes first."""
        leader = "read -r _ _ _ _ _ session _ </proc/$2/stat; kill -KILL $session; " if foreign else ""
        self.machine.sh(f"set -- $(cat {self.base}/pids.{name}); {leader}kill -KILL $1 $2 2>/dev/null; true")

    def busy(self) -> bool:
        """Whether an effect that counts has begun and not ended."""
        counts = self.counts()
        return any(number > counts[f"done:{name}"] + counts[f"failed:{name}"]
                   for how, _, name, number in ((*line.partition(":"), number) for line, number in counts.items())
                   if how == "did")

    def counts(self) -> Counter[str]:
        """How often each effect began (``did:``) and ended (``done:``)."""
        log = self.path("log")
        return Counter(log.read_text().split()) if log.exists() else Counter()

    def tree(self) -> Tree:
        """Every file and folder of the tree: its mode and its content."""
        root = self.path("tree")
        return {str(path.relative_to(root)): (stat.filemode(path.stat().st_mode),
                                              path.read_text() if path.is_file() else "")
                for path in root.rglob("*")}


@dataclass
class ThisMachine:
    """The controller itself, over a local connection."""

    name: str = "localhost"
    variables: dict[str, Any] = field(default_factory=lambda: {"ansible_connection": "local"})

    def path(self, inside: str) -> Path:
        return Path(inside)

    def sh(self, command: str) -> str:
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout

    def disk(self, at: str) -> Disk:
        return Disk(Path(at))


@dataclass
class LabMachine:
    """A host of the lab, over SSH."""

    lab: Lab
    name: str

    def __post_init__(self) -> None:
        options = f"-o UserKnownHostsFile={self.lab.layout.known_hosts} -o HostKeyAlias={self.name}"
        self.variables: dict[str, Any] = {
            "ansible_host": self.lab.hosts[self.name].address, "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.lab.layout.key), "ansible_ssh_common_args": options}

    def path(self, inside: str) -> Path:
        return self.lab.path(self.name, inside)

    def sh(self, command: str) -> str:
        return self.lab.sh(self.name, command).stdout

    def disk(self, at: str) -> Disk:
        return Disk(Path(at), pid=self.lab.pids()[self.name])


class Power:
    """What this machine's boots are to a local cell: processes in namespaces with a boot id of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._boot = folder, 0
        self._running: list[subprocess.Popen[bytes]] = []

    def wrap(self, command: Sequence[str]) -> list[str]:
        """``command`` as a process of the present boot."""
        boot = self._folder / f"boot-{self._boot}"
        boot.write_text(f"{os.urandom(4).hex()}-{self._boot:04x}-4000-8000-{os.urandom(6).hex()}\n"
                        if not boot.exists() else boot.read_text())
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', str(boot), *command]

    def started(self, process: subprocess.Popen[bytes]) -> None:
        self._running.append(process)

    def off(self) -> None:
        """All processes of this boot are gone at once."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        self._boot += 1


@contextmanager
def hosts_of(place: str, lab: Lab | None, names: Sequence[str], folder: Path, before: str) -> Iterator[list[Host]]:
    """The cell's hosts, prepared; what is on them is removed afterwards. ``names``: hosts of the lab it may use."""
    machines: list[Machine]
    if place == "local":
        machines, base = [ThisMachine()], str(folder / "host")
    else:
        assert lab is not None
        machines = [LabMachine(lab, name) for name in names[:1 if place == "ssh" else FLEET]]
        base = f"/srv/crash/{folder.name}"
    hosts = [Host(machine, base) for machine in machines]
    try:
        for host in hosts:
            host.prepare(before)
        yield hosts
    finally:
        for host in hosts:
            host.remove()
