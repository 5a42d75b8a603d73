"""Runs step programs for real: a plain ``sh`` with the function library, `$UP_PRE` and `$UP_TMP` set as on a host."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ultraplan.shell import Program, Reply, library, quote

_F_SETPIPE_SZ = 1031

SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of a host with the system's own tools."""


@dataclass(frozen=True)
class Executor:
    """A host in a folder. ``shell``: the command of its sh; ``path``: its whole PATH; ``state``: its state folder."""

    shell: tuple[str, ...]
    path: str
    state: Path
    tmp: Path
    cwd: Path

    @property
    def prefix(self) -> Path:
        """`$UP_PRE`."""
        return self.state / "op-1"

    def run(self, program: Program) -> Reply:
        """What the program answers; it runs in a subshell, its stdin empty, umask 022."""
        process = subprocess.run(
            [*self.shell, str(self._script(program))], env=self._environment(), cwd=self.cwd, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return Reply(process.returncode, process.stdout, process.stderr)

    def trace(self, program: Program) -> list[str]:
        """Run it to its end; the commands that it began, as the shell's ``-x`` writes them."""
        begun = self._traced(program, None)
        return [line.decode("utf-8", "replace") for line in begun]

    def run_killed(self, program: Program, after: int) -> bool:
        """Run it, and SIGKILL it with all its children once it has begun ``after`` commands; whether it got that far.

        The shell traces its commands into a pipe that holds one write: it cannot run ahead of its reader.
        """
        return len(self._traced(program, after)) >= after

    def _traced(self, program: Program, after: int | None) -> list[bytes]:
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
        fcntl.fcntl(write_end, _F_SETPIPE_SZ, 4096)
        process = subprocess.Popen(
            [*self.shell, str(self._script(program, "set -x\n"))], env=self._environment(), cwd=self.cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=write_end, start_new_session=True)
        os.close(write_end)
        begun: list[bytes] = [b""]  # the last one is not at its end yet: sh writes a line in pieces
        while (after is None or len(begun) <= after) and (piece := os.read(read_end, 65536)):
            first, *others = piece.split(b"\n")
            begun[-1] += first
            begun += others
        if after is not None and len(begun) > after:
            os.killpg(process.pid, signal.SIGKILL)
        os.close(read_end)
        process.wait(timeout=60)
        return begun[:-1]

    def _environment(self) -> dict[str, str]:
        return {"PATH": self.path, "UP_PRE": str(self.prefix), "UP_TMP": str(self.tmp), "LC_ALL": "C.UTF-8",
                "HOME": str(self.cwd)}

    def _script(self, program: Program, before: str = "") -> Path:
        for upload in program.uploads:
            content = upload.source if isinstance(upload.source, bytes) else upload.source.read_bytes()
            (self.tmp / upload.name).write_bytes(content)
        script = self.tmp / ".program"
        text = f"{library()}\nPATH={quote(self.path)}\n( umask 022\n{before}{program.text}\n) </dev/null\n"
        script.write_text(text, encoding="utf-8")
        return script


@cache
def busybox_applets(folder: Path) -> str:
    """A PATH on which there is nothing but the applets of busybox."""
    folder.mkdir(parents=True)
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True, timeout=20)
    for applet in listed.stdout.split():
        (folder / applet).symlink_to("/bin/busybox")
    return str(folder)
