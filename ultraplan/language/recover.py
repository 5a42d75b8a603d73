"""Reading on after a mistake in a file's syntax: the part of the plan around it is blanked, and the rest read again.

A YAML parser cannot go on after an error, but a plan's parts are plain to see in its text: keys at the margin, and the
items of the list under ``steps``. Blanking keeps every other line where it is.
"""

from __future__ import annotations

import re

from ultraplan.language.source import Read, read_yaml

_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:")
_ROUNDS = 5


class Recovered:
    """What `read_yaml` gives, with what could be read around mistakes of syntax. ``blanked``: the keys of the plan of
    which something is missing, and ``steps`` where it is a step."""

    def __init__(self, text: str, file: str) -> None:
        self.blanked: set[str] = set()
        self.read = read_yaml(text, file)
        rest, found = text, list(self.read.mistakes)
        for _ in range(_ROUNDS):
            rows = [one.at.line for one in self.read.mistakes if one.at is not None]
            if self.read.data is not None or not rows or any(one.code in _HOPELESS for one in self.read.mistakes):
                break
            lines = rest.split("\n")
            for row in rows:
                self._blank(lines, row - 1)
            rest = "\n".join(lines)
            self.read = read_yaml(rest, file)
            found += [one for one in self.read.mistakes if one not in found]
        self.read = Read(self.read.data, self.read.source, found)
        self.read.source.text = text

    def _blank(self, lines: list[str], row: int) -> None:
        margin = [at for at, line in enumerate(lines) if line[:1].strip(" \t#-")]
        top = max((at for at in margin if at <= row), default=0)
        end = min((at for at in margin if at > max(row, top)), default=len(lines))
        name = _KEY.match(lines[top])
        key = name[1] if name else ""
        self.blanked.add(key)
        items = [at for at in range(top + 1, end) if lines[at].lstrip(" ").startswith("- ")]
        if key == "steps" and items:
            indent = len(lines[items[0]]) - len(lines[items[0]].lstrip(" "))
            starts = [at for at in items if lines[at].startswith(" " * indent + "-")]
            before = [at for at in starts if at <= row]
            if before:
                top = before[-1]
                end = next((at for at in starts if at > row), end)
        lines[top:end] = [""] * (end - top)


_HOPELESS = frozenset({"control-character", "reserved-character", "alias-explosion", "too-deep", "tab"})
"""Mistakes that are not those of one part, or of which all have been found."""
