"""The program on a terminal of a given size: a pseudo-terminal, and enough of a screen to see what a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from types import TracebackType

from tests.cli.program import Program

_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b.|[\r\n\x08\x07]")


class Terminal:
    """A running `ultraplan`, and what is on its screen."""

    def __init__(self, program: Program, *arguments: str, columns: int = 100, lines: int = 30) -> None:
        self.raw = ""
        self._leader, follower = pty.openpty()
        self.resize(columns, lines)
        environment = program.environment | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            program.command(*arguments), cwd=program.folder, env=environment, stdin=follower, stdout=follower,
            stderr=follower, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # noqa: PLW1509 - tests have one thread
        os.close(follower)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def resize(self, columns: int, lines: int) -> None:
        """What the window does when a person drags its corner."""
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        """Keys; ``\\x03`` is Ctrl-C."""
        os.write(self._leader, text.encode())

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Read until ``text`` was written, anywhere."""
        end = time.monotonic() + seconds
        while text not in self.plain:
            assert time.monotonic() < end, f"{text!r} did not turn up in:\n{self.plain}"
            assert self._read(0.1) or self.process.poll() is None, f"ended without {text!r}:\n{self.plain}"

    def finish(self, seconds: float = 60) -> int:
        """Read to the end; gives the exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None or self._read(0):
            assert time.monotonic() < end, self.plain
            self._read(0.1)
        return self.process.returncode

    @property
    def plain(self) -> str:
        """All that was ever written, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r", "")

    @property
    def screen(self) -> list[str]:
        """The lines that stand on the screen now (with those that scrolled off above), no line wider than it."""
        rows, row, column, at = [""], 0, 0, 0

        def put(text: str) -> None:
            nonlocal row, column
            for char in text:
                if column >= self.columns:
                    row, column = row + 1, 0
                while len(rows) <= row:
                    rows.append("")
                rows[row] = rows[row].ljust(column)[:column] + char + rows[row][column + 1:]
                column += 1

        for found in _CONTROL.finditer(self.raw):
            put(self.raw[at:found.start()])
            at = found.end()
            what, count = found[2], int(found[1] or 1) if (found[1] or "1").isdigit() else 1
            if found[0] == "\r":
                column = 0
            elif found[0] == "\n":
                row += 1
                while len(rows) <= row:
                    rows.append("")
            elif what == "A":
                row = max(0, row - count)
            elif what == "K" and row < len(rows):
                rows[row] = "" if found[1] == "2" else rows[row][:column]
        put(self.raw[at:])
        return [line.rstrip() for line in rows]

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._leader], [], [], seconds)
        if not readable:
            return False
        try:
            got = os.read(self._leader, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += got.decode(errors="replace")
        return bool(got)

