"""The process a lab lives in. Started by `Lab.up` as `python -m tests.lab.supervisor FOLDER OPTIONS`.

It is PID 1 of a PID namespace and has a mount namespace of its own; all disks, network namespaces and hosts are inside
these two. So there is nothing to clean up: when it ends, also by SIGKILL, the kernel ends the hosts, and with the last
of them go the disks, the networks and the machine's interface. What a kernel does not drop, the folder with the client
files and the cgroups of systemd hosts, is removed by the parent, which waits for just that; if that parent was killed
too, the next `up` does it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import access, disks
from tests.lab.network import Network
from tests.lab.spec import Host, Kind, LabError, Layout, Options, name_hosts

CLONE_NEWNS, CLONE_NEWPID, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x20000000, 0x4000, 0x40000, 2
PR_SET_PDEATHSIG = 1
BOOT_SECONDS = 30.0
INIT = Path(__file__).with_name("init.sh")


@dataclass
class Running:
    """A host's PID 1: the process that waits for it, its PID for the machine and its PID in here."""

    waiter: subprocess.Popen[bytes]
    outer: int
    inner: int


class Supervisor:
    """The lab's hosts and what can be done to them; one method for each verb."""

    def __init__(self, layout: Layout, options: Options, cgroup: Path) -> None:
        self.layout, self.options, self.cgroup = layout, options, cgroup
        self.network = Network(layout, options)
        self.hosts = {h.name: h for h in name_hosts(options.kinds, self.network.slot)}
        self.running: dict[str, Running] = {}
        everyone = list(self.hosts.values())
        if Kind.BUSYBOX in options.kinds:
            disks.busybox_image(layout.disks / "busybox")
        disks.make_key(layout.key, "lab")
        self.network.connect(everyone)
        self._each(lambda h: disks.prepare(h, layout, options.pam), everyone)
        self.boot(everyone)
        parent = int(cgroup.name.rpartition("-")[2])
        access.write(layout, options, everyone, int(Path("/proc/self").readlink().name), parent)

    @staticmethod
    def _each(act: Callable[[Host], None], hosts: list[Host]) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(act, hosts))

    def boot(self, hosts: list[Host]) -> None:
        """(Re)starts the hosts on the disk they have; returns when their sshd answers. Ends a cut."""
        self.kill(hosts)
        for host in hosts:
            self._start(host)
        self._each(self._await, hosts)

    def _start(self, host: Host) -> None:
        folder = self.layout.host(host.name)
        (folder / "pid").unlink(missing_ok=True)
        network = self.network.plug(host)
        enter = ["nsenter", f"--net={network}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork"]
        if host.kind is Kind.SYSTEMD:
            # A cgroup of its own first: the namespace's root is where its maker is, and systemd moves what it finds.
            cgroup = self.cgroup / host.name
            remove_cgroup(cgroup)
            cgroup.mkdir()
            join = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
            enter = ["sh", "-c", join, str(cgroup), *enter, "--cgroup"]
        image = disks.image(host, self.layout)
        environment = {"PATH": os.environ["PATH"], "H": str(folder), "NAME": host.name,
                       "KIND": host.kind, "LOWER": str(image), "BOOT_ID": str(uuid.uuid4())}
        with (folder / "log").open("ab") as log:
            waiter = subprocess.Popen([*enter, "sh", str(INIT)], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=log, start_new_session=True)
        end = time.monotonic() + BOOT_SECONDS
        while not (folder / "pid").exists():
            if waiter.poll() is not None or time.monotonic() > end:
                raise self._failed(host)
            time.sleep(0.002)
        outer, inner = (folder / "pid").read_text().split()[:2]
        self.running[host.name] = Running(waiter, int(outer), int(inner))

    def _await(self, host: Host) -> None:
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end and self.running[host.name].waiter.poll() is None:
            try:
                with socket.create_connection((host.address, 22), 5) as connection:
                    connection.settimeout(5)
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.01)
        raise self._failed(host)

    def _failed(self, host: Host) -> LabError:
        log = (self.layout.host(host.name) / "log").read_text(errors="replace").strip()
        return LabError(f"{host.name} did not come up: {log[-2000:] or 'its log is empty'}")

    def kill(self, hosts: list[Host]) -> None:
        """Power loss: first the wire, so that no FIN or RST gets out, then every process at once."""
        self.network.cut(hosts)
        gone = [r for h in hosts if (r := self.running.pop(h.name, None))]
        for host in gone:
            if host.waiter.poll() is None:
                os.kill(host.inner, signal.SIGKILL)  # PID 1 of its namespace: the kernel kills the rest
        for host in gone:
            host.waiter.wait()

    def reset(self, hosts: list[Host]) -> None:
        """Boots the hosts on a disk as it was before their first boot."""
        self.kill(hosts)
        self._each(lambda h: disks.prepare(h, self.layout, self.options.pam), hosts)
        self.boot(hosts)

    def answer(self, verb: str, names: list[str]) -> dict[str, Any]:
        """Does one verb; `names` are hosts. The answer: PIDs of the hosts that run, as the machine sees them."""
        unknown = [n for n in names if n not in self.hosts]
        if unknown:
            raise LabError(f"no such host: {', '.join(unknown)} (there are {', '.join(self.hosts)})")
        chosen = [self.hosts[n] for n in dict.fromkeys(names)]
        verbs: dict[str, Callable[[list[Host]], None]] = {
            "cut": self.network.cut, "heal": self.network.heal, "kill": self.kill, "boot": self.boot,
            "reset": self.reset, "list": lambda _: None,
        }
        verbs[verb](chosen)
        up = {name: r.outer for name, r in self.running.items() if r.waiter.poll() is None}
        return {"pids": up, "images": {h.name: str(disks.image(h, self.layout)) for h in self.hosts.values()}}

    def serve(self, listener: socket.socket, lifeline: int) -> None:
        """Answers orders until `down`, or until the other end of `lifeline` is closed because its holder died."""
        while True:
            ready, _, _ = select.select([listener.fileno(), lifeline], [], [])
            if lifeline in ready and not os.read(lifeline, 1):
                return
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(ConnectionError, ValueError):  # a client that went away
                    order = json.loads(connection.makefile().readline())
                    if order["verb"] == "down":
                        self.kill(list(self.hosts.values()))
                        self.network.remove()
                        return
                    try:
                        reply = self.answer(order["verb"], order["hosts"])
                    except (LabError, OSError, subprocess.CalledProcessError) as error:
                        reply = {"error": str(error)}
                    connection.sendall(json.dumps(reply).encode())


def remove_cgroup(root: Path) -> None:
    """Removes an empty cgroup with those below it; a process that is still ending holds it for a moment."""
    for folder, _, _ in os.walk(root, topdown=False):
        for _ in range(200):
            try:
                Path(folder).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)


def _own_cgroup(layout: Layout) -> Path:
    """A cgroup for this lab's hosts, locked for as long as this process lives; those that nobody locks are removed."""
    folder = layout.disks / "cgroup"
    own = folder / f"ultraplan-lab-{os.getpid()}"
    for other in folder.glob("ultraplan-lab-*"):
        descriptor = os.open(other, os.O_RDONLY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_cgroup(other)
        os.close(descriptor)
    own.mkdir()
    fcntl.flock(os.open(own, os.O_RDONLY), fcntl.LOCK_EX)
    return own


def _mount(layout: Layout) -> None:
    def mount(*arguments: str) -> bool:
        return subprocess.run(["mount", *arguments], check=False, stderr=subprocess.DEVNULL).returncode == 0

    layout.disks.mkdir()
    if not mount("-t", "tmpfs", "-o", "mode=755,size=75%", "lab", str(layout.disks)):
        raise LabError("cannot mount a tmpfs (is this root, with CAP_SYS_ADMIN?)")
    (layout.disks / "cgroup").mkdir()
    mount("-t", "cgroup2", "cgroup2", str(layout.disks / "cgroup"))  # without it, systemd hosts say what they miss


def _inside(layout: Layout, options: Options, cgroup: Path, ready: socket.socket, lifeline: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    listener = socket.socket(socket.AF_UNIX)
    try:
        supervisor = Supervisor(layout, options, cgroup)
        listener.bind(str(layout.control))
        os.chown(layout.control, options.owner, -1)
        listener.listen(64)
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        ready.sendall(str(error).encode())
        return
    ready.sendall(b"ready")
    ready.close()
    supervisor.serve(listener, lifeline)


def main(folder: str, wanted: str, ready_fd: str, lifeline_fd: str) -> None:
    """Arguments: the lab's folder, its options as JSON, the socket on which to say "ready" or what is wrong, and the
    pipe that its creator holds open for as long as the lab shall live (-1: until `down`)."""
    layout, values = Layout(Path(folder)), json.loads(wanted)
    options = Options(**{**values, "kinds": tuple(map(Kind, values["kinds"]))})
    ready, lifeline = socket.socket(fileno=int(ready_fd)), int(lifeline_fd)
    kept = os.pipe() if lifeline < 0 else (lifeline, -1)
    libc, cgroup = ctypes.CDLL(None, use_errno=True), None
    try:
        _check(libc, libc.unshare(CLONE_NEWNS))
        _check(libc, libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
        _mount(layout)
        cgroup = _own_cgroup(layout)
        _check(libc, libc.unshare(CLONE_NEWPID))  # for the next child only: it is PID 1, and the last one there can be
        child = os.fork()
        if child == 0:
            try:
                _inside(layout, options, cgroup, ready, kept[0])
            finally:
                os._exit(0)
        ready.close()
        os.waitpid(child, 0)  # with it, all hosts have ended
    except (LabError, OSError) as error:
        ready.sendall(f"cannot prepare a lab: {error}".encode())
    finally:
        if cgroup:
            remove_cgroup(cgroup)
        libc.umount2(bytes(layout.disks), MNT_DETACH)
        shutil.rmtree(layout.root, ignore_errors=True)


def _check(libc: ctypes.CDLL, result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(*sys.argv[1:])
