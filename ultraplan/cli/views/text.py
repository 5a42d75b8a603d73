"""Numbers, times and lists in a person's words."""

from __future__ import annotations

import time
from collections.abc import Sequence


def lasting(seconds: float) -> str:
    """A length of time for people who wait: ``4 s``, ``2:05``, ``1:02:05``, ``7 d 1:02:05``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(seconds: float) -> str:
    """How long ago, in one unit: ``12 s ago``, ``3 h ago``, ``5 days ago``."""
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit == "day" and seconds >= size):
            whole = int(seconds // size)
            return f"{counted(whole, unit) if unit == 'day' else f'{whole} {unit}'} ago"
    return f"{max(0, int(seconds))} s ago"


def date(when: float) -> str:
    """A moment (Unix seconds) in UTC: ``2026-11-22 01:44:55``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))


def counted(number: int, what: str, several: str | None = None) -> str:
    """``1 host``, ``2 hosts``; ``several``: a plural that is not made with an s."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def some(names: Sequence[str], most: int = 2) -> str:
    """The first few of ``names``, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
