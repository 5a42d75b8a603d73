"""`Lab`: what tests, and the command line, do with a lab."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from tests.lab import tree
from tests.lab.spec import Host, Kind, LabError, Layout, Options, base

TOOLS = ("ip", "bridge", "unshare", "nsenter", "setpriv", "mount", "umount", "ssh-keygen", "sshd", "busybox")
REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")


def _path() -> str:
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def why_unavailable() -> str | None:
    """Why this machine and user cannot have a lab; None: they can."""
    if os.geteuid() != 0:
        return "test hosts need root"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]
    return f"test hosts need {', '.join(missing)} (`make system` installs them)" if missing else None


class Lab:
    """A running lab. Hosts are named h1 … (debian), b1 … (busybox), s1 … (systemd); every verb takes any number."""

    def __init__(self, root: Path) -> None:
        """The lab whose folder is `root`. Raises LabError if there is none that runs."""
        self.layout = Layout(root)
        self._lifeline: int | None = None
        try:
            state = json.loads(self.layout.state.read_text())
        except FileNotFoundError:
            raise LabError(f"there is no lab in {root}: bring one up first") from None
        self._supervisor: int = state["supervisor"]
        self._interface: str = state["interface"]
        self._parent: int = state["parent"]
        self.controller: str = state["gateway"]
        """The address under which hosts reach this machine."""
        self.hosts: dict[str, Host] = {
            h["name"]: Host(h["name"], Kind(h["kind"]), h["index"], h["slot"]) for h in state["hosts"]
        }

    @classmethod
    def up(cls, options: Options, root: Path | None = None, *, keep: bool = False) -> Self:
        """Starts a lab; returns when every host's sshd answers. It ends with `down`, and unless `keep`, also when this
        process ends, however it ends. Without `root` its folder is a new one. Raises LabError."""
        reason = why_unavailable()
        if reason:
            raise LabError(reason)
        root, lock = _claim(root)
        ours, theirs = socket.socketpair()
        theirs_alive, ours_alive = os.pipe()
        command = [sys.executable, "-m", "tests.lab.supervisor", str(root), json.dumps(asdict(options))]
        command += [str(theirs.fileno()), "-1" if keep else str(theirs_alive)]
        environment = {**os.environ, "PATH": _path(), "PYTHONDONTWRITEBYTECODE": "1"}
        with Layout(root).log.open("wb") as log:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno(), lock] + ([] if keep else [theirs_alive]),
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                       cwd=REPOSITORY, env=environment)
        theirs.close()
        os.close(theirs_alive)
        os.close(lock)
        said = b""
        while chunk := ours.recv(65536):
            said += chunk
        ours.close()
        if said != b"ready":
            os.close(ours_alive)
            process.wait()
            raise LabError(said.decode() or f"the lab's supervisor ended with {process.returncode}")
        lab = cls(root)
        lab._lifeline = ours_alive
        if keep:
            os.close(ours_alive)
            lab._lifeline = None
            process.returncode = 0  # not ours to wait for: it outlives us
        else:
            lab._process = process
        return lab

    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self) -> None:
        """Ends the lab; returns when nothing of it is left."""
        with contextlib.suppress(LabError):
            self._order("down")
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._process:
            self._process.wait()
        end = time.monotonic() + 30
        while self.layout.root.exists() or Path("/sys/class/net", self._interface).exists():
            if time.monotonic() > end:
                raise LabError(f"the lab in {self.layout.root} did not end")
            time.sleep(0.005)

    def cut(self, *hosts: str) -> None:
        """Loses every packet from and to the hosts, silently; their connections stay open."""
        self._order("cut", hosts)

    def heal(self, *hosts: str) -> None:
        """Ends a cut."""
        self._order("heal", hosts)

    def kill(self, *hosts: str) -> None:
        """Power loss: all processes gone, no FIN or RST sent; the disk stays."""
        self._order("kill", hosts)

    def boot(self, *hosts: str) -> None:
        """Starts hosts again (kills them first if they run) with the disk they have; ends a cut."""
        self._order("boot", hosts)

    def reset(self, *hosts: str) -> None:
        """Wipes the disks of the hosts and boots them."""
        self._order("reset", hosts)

    def pids(self) -> dict[str, int]:
        """The PID of PID 1, as this machine sees it, of each host that runs."""
        pids: dict[str, int] = self._order("list")["pids"]
        return pids

    def enter(self, host: str) -> list[str]:
        """The start of a command that runs inside the host without SSH."""
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
        return ["nsenter", f"--target={self._pid(host)}", *namespaces, "/usr/bin/env", "-i", *ENVIRONMENT]

    def sh(
        self, host: str, command: str | Sequence[str], *, check: bool = True, input: str = ""  # noqa: A002
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside the host, as root, not over SSH: a string by its sh, a list as it is."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        done = subprocess.run([*self.enter(host), *argv], input=input, capture_output=True, text=True,
                              errors="surrogateescape", check=False)
        if check and done.returncode:
            raise LabError(f"{host}: {command!r} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def path(self, host: str, path: str) -> Path:
        """The host's file, to read or write from outside. Absolute links on the way lead out of the host."""
        return Path(f"/proc/{self._pid(host)}/root") / path.lstrip("/")

    def tree(self, host: str, roots: Sequence[str] | None = None, ctimes: bool = False) -> tree.Tree:
        """A listing of the host's files, read from outside.

        With `roots`, everything at and below these absolute paths. Without, the whole disk: as its differences from the
        image it was made from, so that two listings are equal exactly if the disks are; then /tmp and /dev/shm, too
        (/run, the state of running services, is left out). With `ctimes`, the times of the last change of each inode
        and of its content are in it: if these are equal, nothing was even written back.
        """
        if roots is not None:
            return tree.listing(self.path(host, "/"), list(roots), ctimes)
        image = Path(self._order("list")["images"][host])
        outside = Path(f"/proc/{self._supervisor}/root")
        lower = image if image == Path("/") else outside / image.relative_to("/")
        upper = outside / self.layout.host(host).relative_to("/") / "upper"
        disk = tree.changes(upper, lower, ctimes)
        return disk | tree.listing(self.path(host, "/"), ["/tmp", "/dev/shm"], ctimes)

    @property
    def inventory_path(self) -> Path:
        """An Ansible inventory in YAML: groups debian, busybox, systemd."""
        return self.layout.inventory

    def ssh(
        self, host: str, *command: str, user: str = "root", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs OpenSSH's client; its exit status, 255 for trouble of its own, is not checked."""
        argv = ["ssh", "-F", str(self.layout.ssh_config), "-o", "BatchMode=yes", "-l", user, host, *command]
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )

    def cgroups(self) -> list[Path]:
        """The folder of the cgroups of this lab's systemd hosts, wherever this machine has cgroup2 mounted."""
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        own = f"ultraplan-lab-{self._parent}"
        return [folder for _, at, kind, *_ in mounts if kind == "cgroup2" and (folder := Path(at, own)).exists()]

    def _pid(self, host: str) -> int:
        pid = self._order("list", [host])["pids"].get(host)
        if pid is None:
            raise LabError(f"{host} is down")
        return int(pid)

    def _order(self, verb: str, hosts: Sequence[str] = ()) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.layout.control))
            except OSError as error:
                raise LabError(f"the lab in {self.layout.root} does not answer: {error.strerror}") from None
            with connection.makefile("rw") as stream:
                stream.write(json.dumps({"verb": verb, "hosts": list(hosts)}) + "\n")
                stream.flush()
                reply: dict[str, Any] = json.loads(stream.read() or "{}")
        if "error" in reply:
            raise LabError(reply["error"])
        return reply


def _claim(root: Path | None) -> tuple[Path, int]:
    """Makes a lab's folder and takes its lock, which is to be held, through this descriptor, by the processes that the
    lab lives in; folders whose lock nobody holds are what labs left of which every process was killed: removed."""
    base().mkdir(parents=True, exist_ok=True)
    one_at_a_time = os.open(base(), os.O_RDONLY)
    try:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        for folder in base().glob("*/"):
            _remove_if_dead(folder)
        if root is None:
            root = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base()))
        elif not _remove_if_dead(root):
            raise LabError(f"there is a lab in {root} already: take it down first")
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o755)
        lock = os.open(root / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(one_at_a_time)
    return root, lock


def _remove_if_dead(folder: Path) -> bool:
    """Removes the folder of a lab that no process lives in; False: one does. Other folders stay."""
    try:
        lock = (folder / "lock").open()
    except FileNotFoundError:
        if folder.exists() and any(folder.iterdir()):
            raise LabError(f"{folder} is there already, and is no lab's") from None
        return True
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True
