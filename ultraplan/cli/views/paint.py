"""Colour for a few words, where the output is a terminal."""

from __future__ import annotations

_CODES = {"red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36", "dim": "2", "bold": "1"}


def paint(text: str, tone: str, color: bool) -> str:
    """``text`` in ``tone``, or as it is without colour. Control characters in it are made visible: it may come from
    a host, and a terminal must not obey a host."""
    safe = "".join(c if c >= " " or c == "\t" else f"\\x{ord(c):02x}" for c in text)
    return f"\x1b[{_CODES[tone]}m{safe}\x1b[0m" if color and tone else safe
