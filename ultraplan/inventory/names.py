"""What a host's name in an inventory may say besides the name: a range (``db[01:20:2]``) and a port (``web1:2222``)."""

from __future__ import annotations

import re
import string
from functools import cache

LOCALHOST = ("localhost", "127.0.0.1", "::1")
"""The names of the machine itself; unless an inventory has one of them, the first is there implicitly."""

MAX_RANGE = 100_000
"""How many hosts one pattern of ranges may stand for."""

RANGE_HINT = "ranges are written db[01:20] or db[a:f:2]; an IPv6 address has no brackets without a port"

_STEP = r"(?::[0-9]+)?"
_NUMBERS = rf"\[[0-9]+:[0-9]+{_STEP}\]"
_HEXES = rf"\[[0-9a-f]+:[0-9a-f]+{_STEP}\]"
_RANGE = rf"\[(?:[a-z]:[a-z]|[0-9]+:[0-9]+){_STEP}\]"

_BRACKETED = re.compile(r"\[(.+)\]:([0-9]+)$")
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])*):([0-9]+)$")


@cache
def _addresses() -> tuple[re.Pattern[str], ...]:
    """What can be an address: IPv4, IPv6, a host name; each with ranges in place of a part."""
    octet = rf"(?:[01]?[0-9]{{1,2}}|2[0-4][0-9]|25[0-5]|{_NUMBERS})"
    dotted = rf"(?:{octet}\.){{3}}{octet}"
    part = rf"(?:[0-9a-f]{{1,4}}|{_HEXES})"
    forms = [
        rf"(?:{part}:){{7}}{part}",
        rf"(?:{part}:){{1,6}}:",
        *(rf"(?:{part}:){{{n}}}(?::{part}){{1,{7 - n}}}" for n in range(1, 7)),
        rf":(?::{part}){{1,6}}",
        rf"{part}?::",
        rf"(?:0:){{6}}{dotted}",
        rf"::(?:ffff:)?{dotted}",
        rf"(?:0:){{5}}ffff:{dotted}",
    ]
    label = rf"(?:\w|{_RANGE})(?:[\w-]|{_RANGE})*(?<![_-])"
    return tuple(re.compile(text + "$", re.IGNORECASE) for text in
                 (dotted, f"(?:{'|'.join(forms)})", rf"{label}(?:\.{label})*"))


def split_port(text: str, *, ranges: bool = True) -> tuple[str, int | None] | None:
    """The name and the port (None where there is none) that ``text`` writes, or None where it is no address.

    An IPv6 address with a port stands in brackets: ``[2001:db8::1]:22``. Without ``ranges``, brackets are no address.
    """
    port: int | None = None
    for pattern in (_BRACKETED, _WITH_PORT):
        found = pattern.match(text)
        if found:
            text, port = found[1], int(found[2])
    if not any(pattern.match(text) for pattern in _addresses()) or (not ranges and "[" in text):
        return None
    return text, port


def expand(text: str) -> tuple[list[str], int | None]:
    """The host names that ``text`` stands for, in order, and the port they share.

    Raises ValueError, saying what is wrong, for a range that cannot be read, is empty, or is larger than `MAX_RANGE`.
    """
    name, port = split_port(text) or (text, None)
    return (_ranges(name) if "[" in name else [name]), port


def _ranges(text: str) -> list[str]:
    names = [""]
    while "[" in text:
        head, _, rest = text.partition("[")
        inside, closed, text = rest.partition("]")
        if not closed:
            raise ValueError(f"the range '[{inside}' has no ']'")
        parts = _sequence(inside)
        if len(names) * len(parts) > MAX_RANGE:
            raise ValueError(f"the ranges stand for more than {MAX_RANGE:,} hosts")
        names = [name + head + part for name in names for part in parts]
    return [name + text for name in names]


def _sequence(inside: str) -> list[str]:
    """What ``01:20:2`` (begin, end inclusive, step) stands for."""
    bounds = inside.split(":")
    if len(bounds) not in (2, 3):
        raise ValueError(f"the range [{inside}] is not [begin:end] or [begin:end:step]")
    begin, end = bounds[0] or "0", bounds[1]
    if not end:
        raise ValueError(f"the range [{inside}] has no end")
    step = int(bounds[2]) if len(bounds) == 3 and _digits(bounds[2]) else 1 if len(bounds) == 2 else 0
    if step < 1:
        raise ValueError(f"the step of the range [{inside}] is not a positive number")
    letters = string.ascii_letters
    if len(begin) == len(end) == 1 and begin in letters and end in letters:
        chosen = letters[letters.index(begin):letters.index(end) + 1:step]
        parts = list(chosen)
    elif _digits(begin) and _digits(end):
        width = len(begin) if begin[0] == "0" and len(begin) > 1 else 0
        if width and width != len(end):
            raise ValueError(f"begin and end of the range [{inside}] are not equally long")
        if (int(end) - int(begin)) // step >= MAX_RANGE:
            raise ValueError(f"the range [{inside}] stands for more than {MAX_RANGE:,} hosts")
        parts = [str(number).zfill(width) for number in range(int(begin), int(end) + 1, step)]
    else:
        raise ValueError(f"begin and end of the range [{inside}] are neither two numbers nor two letters")
    if not parts:
        raise ValueError(f"the range [{inside}] is empty: its begin comes after its end")
    return parts


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
