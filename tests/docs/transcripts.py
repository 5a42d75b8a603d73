"""What the documentation shows is what the program does: reads fenced blocks out of a page, and plays them.

    ```yaml first.yaml      a file: it is written before what follows
    ```console              commands (`$ …`) with what they print; they are run, and compared
    ```sh                   for people only

In what is printed, a line `…` stands for any number of lines, and `…` within a line for any text. What is different
each time (ids of runs, clock times, durations, folders of this machine) is compared by its form only.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = [
    (re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{4}\b"), "RUN"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "WHEN"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d)? s\b"), "SECONDS"),
]


@dataclass
class Block:
    """One fenced block. ``line``: where it begins, from 1. ``name``: the word after the language."""

    language: str
    name: str
    text: str
    line: int


@dataclass
class Command:
    """A command line, and the lines that the page shows below it."""

    text: str
    line: int
    shown: list[str] = field(default_factory=list)


def blocks(page: Path) -> Iterator[Block]:
    """The page's fenced blocks that have a language, in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(found[1], found[2] or "", found[3], text.count("\n", 0, found.start()) + 1)


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append(Command(line[2:], number))
        elif found and not found[-1].shown and found[-1].text.endswith("\\"):
            found[-1].text += "\n" + line
        elif found:
            found[-1].shown.append(line)
        else:
            raise ValueError(f"line {number}: a console block begins with a command")
    for command in found:
        while command.shown and not command.shown[-1]:
            command.shown.pop()
    return found


class Player:
    """Plays pages in a folder. ``environment`` is added to the process's; ``places``: text to what stands for it."""

    def __init__(self, folder: Path, environment: Mapping[str, str], places: Mapping[str, str] | None = None) -> None:
        self.folder, self.status = folder, 0
        self.environment = {**os.environ, **environment}
        self.places = dict(places or {})

    def play(self, page: Path, only: str | None = None, until: str | None = None) -> list[str]:
        """Write the page's files and run its commands; gives what is not as the page shows it, a text each.

        ``only``: console blocks of this name, and no files. ``until``: a heading where to stop.
        """
        text = page.read_text(encoding="utf-8")
        last = text[: text.index(f"\n{until}\n")].count("\n") + 1 if until else 10**9
        wrong: list[str] = []
        for block in blocks(page):
            if block.line > last:
                break
            if block.language == "yaml" and block.name and only is None:
                (self.folder / block.name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / block.name).write_text(block.text, encoding="utf-8")
            elif block.language == "console" and (only is None or block.name == only):
                for command in commands(block):
                    printed = self._run(command.text)
                    if not matches(command.shown, self._as_shown(printed).splitlines()):
                        wrong.append(f"{page.name}:{command.line}: $ {command.text}\nshown:\n"
                                     + "\n".join(command.shown) + f"\nprinted:\n{printed}")
        return wrong

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", f"(exit {self.status}); {command}"], cwd=self.folder, env=self.environment, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        self.status = done.returncode
        return done.stdout.decode()

    def _as_shown(self, printed: str) -> str:
        for real, shown in self.places.items():
            printed = printed.replace(real, shown)
        return printed


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether lines were printed as they are shown."""
    pattern = ""
    for line in map(_steady, shown):
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += "[^\n]*".join(re.escape(part) for part in line.split("…")) + r"[ ]*\n"
    while printed and not printed[-1].strip():
        printed = printed[:-1]
    return re.fullmatch(pattern, "".join(f"{_steady(line)}\n" for line in printed)) is not None


def _steady(line: str) -> str:
    for pattern, name in VARIES:
        line = pattern.sub(name, line)
    return line.rstrip()
