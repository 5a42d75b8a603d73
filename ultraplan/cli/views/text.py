"""Numbers, times and lists in a person's words."""

from __future__ import annotations

from collections.abc import Sequence


def lasting(seconds: float) -> str:
    """A length of time for people who wait: ``4 s``, ``2:05``, ``1:02:05``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(number: int, what: str, several: str | None = None) -> str:
    """``1 host``, ``2 hosts``; ``several``: a plural that is not made with an s."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def some(names: Sequence[str], most: int = 2) -> str:
    """The first few of ``names``, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
