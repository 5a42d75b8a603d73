"""Runs one program and says what it cost: ``python -m benchmarks.runner``, a JSON object on stdin, one on stdout.

A process of its own, because it takes in every process that the program leaves behind (masters of shared SSH
connections and the like): their processor time counts too, and none of them outlives the measurement.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_SAMPLE = 0.1  # seconds between two looks at memory, at least
_SHARE = 20  # a look may take one part in so many of the time
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program cost on this machine. ``seconds``: until it ended; ``cpu``: user and system time, in seconds, of
    all its processes; ``memory``: the most that they had at any look, together, in bytes (proportional set size)."""

    exit: int
    seconds: float
    cpu: float
    memory: int


class Slow(Exception):
    """A program that did not end in its time; it was ended."""


def run(argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path, log: Path, timeout: float) -> Usage:
    """Run ``argv`` to its end, its output appended to ``log``. Raises `Slow` after ``timeout`` seconds."""
    wanted = {"argv": [str(word) for word in argv], "environment": dict(environment), "cwd": str(cwd), "log": str(log),
              "timeout": timeout}
    done = subprocess.run([sys.executable, "-m", "benchmarks.runner"], input=json.dumps(wanted), capture_output=True,
                          text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode != 0:
        raise RuntimeError(f"the runner failed: {done.stderr.strip()[-2000:]}")
    answer = json.loads(done.stdout)
    if answer is None:
        raise Slow(f"{argv[0]} took more than {timeout:g} s; see {log}")
    return Usage(**answer)


def descendants(root: int) -> list[int]:
    """The processes that descend from ``root``, without it."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                children = [int(word) for word in (task / "children").read_text().split()]
                found += children
                waiting += children
    return found


def _memory(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total


class _Watch(threading.Thread):
    """Looks at the memory of all that descends from this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._done = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            began = time.monotonic()
            self.peak = max(self.peak, _memory(descendants(os.getpid())))
            pause = max(_SAMPLE, _SHARE * (time.monotonic() - began))

    def end(self) -> None:
        self._done.set()
        self.join()


def _end_all() -> None:
    """End whatever is left, and take in what it cost."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _PATIENCE
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while time.monotonic() < until:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.01)
            except ChildProcessError:
                return


def _interrupted(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """See the module."""
    wanted = json.load(sys.stdin)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    watch = _Watch()
    seconds = -1.0
    try:
        with open(wanted["log"], "ab") as log:  # noqa: PTH123
            began = time.monotonic()
            process = subprocess.Popen(wanted["argv"], env=wanted["environment"], cwd=wanted["cwd"], stdout=log,
                                       stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        watch.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wanted["timeout"])
            seconds = time.monotonic() - began
        watch.end()
    finally:
        _end_all()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage = Usage(process.returncode if process.returncode is not None else -1, seconds, used.ru_utime + used.ru_stime,
                  max(watch.peak, used.ru_maxrss * 1024))
    print(json.dumps(None if seconds < 0 else asdict(usage)))


if __name__ == "__main__":
    main()
