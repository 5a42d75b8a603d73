"""The work that every tool does: files of a fixed mode, each followed by a command, on every host."""

from __future__ import annotations

from dataclasses import dataclass

ROOT = "/srv/bench"
"""Everything is done below this folder; it is there, and empty, before a first run."""
MODE = "0640"


@dataclass(frozen=True, slots=True)
class Work:
    """``files`` files with fixed mode and as many commands, one after the other: copy what was just written."""

    files: int = 10

    @property
    def steps(self) -> int:
        """How many steps that is on each host."""
        return 2 * self.files

    def path(self, number: int) -> str:
        """The file of this number."""
        return f"{ROOT}/file-{number}"

    def copy(self, number: int) -> str:
        """What the command of this number writes."""
        return f"{ROOT}/copy-{number}"

    def content(self, number: int) -> str:
        """About a kilobyte of text; the same in every run."""
        return "".join(f"setting_{number}_{line} = value {number * line}\n" for line in range(40))

    def command(self, number: int) -> tuple[str, ...]:
        """The command of this number, which runs every time."""
        return ("cp", self.path(number), self.copy(number))

    def numbers(self) -> range:
        """Of the files, and of the commands."""
        return range(1, self.files + 1)
