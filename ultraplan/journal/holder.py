"""Who holds a lock: a process, written so that another one of the machine can tell whether it still lives.

``alice@web1 process 4242 [MACHINE.BOOT.PIDS.START]``: a hash of the machine's id, the kernel's boot id, the
pid namespace and the process's start time. A recycled pid has another start time, so it is never taken for
the holder.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
from functools import cache
from pathlib import Path

_HOLDER = re.compile(
    r"(?P<user>.*)@(?P<host>.*) process (?P<pid>\d+) "
    r"\[(?P<machine>[^.]*)\.(?P<boot>[^.]*)\.(?P<pids>[^.]*)\.(?P<start>\d*)\]", re.DOTALL)


def holder() -> str:
    """This process as a holder of locks."""
    pid = os.getpid()
    start = _start(pid) or ""
    return f"{_user()}@{socket.gethostname()} process {pid} [{_machine()}.{boot_id()}.{_pids()}.{start}]"


def alive(text: str) -> bool | None:
    """Whether the process that `holder` gave ``text`` for still runs; None where that cannot be known from
    here (another machine, another pid namespace, no /proc, or a text of some other form)."""
    found = _HOLDER.fullmatch(text)
    if found is None or not found["boot"] or not boot_id():
        return None
    if found["boot"] != boot_id():
        here = (_machine(), socket.gethostname())
        return False if here[0] and (found["machine"], found["host"]) == here else None
    if found["pids"] != _pids() or not found["start"]:
        return None
    return _start(int(found["pid"])) == found["start"]


def describe(text: str) -> str:
    """The part of a holder that means something to people (``alice@web1 process 4242``)."""
    return text.rpartition(" [")[0] if _HOLDER.fullmatch(text) else text


@cache
def boot_id() -> str:
    """What identifies this boot of the machine; empty where the system does not tell."""
    return _read("/proc/sys/kernel/random/boot_id").replace("-", "")[:12]


@cache
def _machine() -> str:
    known = _read("/etc/machine-id")  # machine-id(5): to be hashed, never shown as it is
    return hashlib.sha256(b"ultraplan" + known.encode()).hexdigest()[:12] if known else ""


def _pids() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """A running process's start time in clock ticks since boot (proc(5), field 22); None for a dead one."""
    fields = _read(f"/proc/{pid}/stat").rpartition(") ")[2].split()  # the name before may hold anything
    return None if len(fields) < 20 or fields[0] in "ZX" else fields[19]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the password database
        return str(os.getuid())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
