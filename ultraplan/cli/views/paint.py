"""Text from anywhere made safe for a terminal, and colour for a few words of it."""

from __future__ import annotations

import re

_CODES = {"red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36", "dim": "2", "bold": "1"}

TONES = {"good": "green", "quiet": "dim", "work": "cyan", "bad": "red", "news": "bold"}
"""The colour of each tone of `ultraplan.cli.views.words.Words`."""

_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for the tab, those that turn the direction of text round, and halves of characters."""


def visible(text: str) -> str:
    """``text`` with control characters as ``\\x1b`` or ``\\u202e``: a terminal must not obey what a host sent."""
    return _UNSAFE.sub(lambda found: _code(ord(found[0])), text)


def visible_lines(text: str) -> str:
    """`visible`, line by line."""
    return "\n".join(map(visible, text.replace("\r\n", "\n").split("\n")))


def paint(text: str, tone: str, color: bool) -> str:
    """``text``, made visible, in the colour ``tone`` (none where it is empty), or plain without ``color``."""
    safe = visible(text)
    return f"\x1b[{_CODES[tone]}m{safe}\x1b[0m" if color and tone else safe


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
