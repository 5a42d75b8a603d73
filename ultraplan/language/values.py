"""The language's own scalar values: durations, sizes, percents and file modes."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?(?:(?P<ms>\d+)ms)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?(B|[kKMGTP]i?B)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s?%")
_MODE = re.compile(r"[0-7]{3,4}")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}

DURATION_PATTERN = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?$"
SIZE_PATTERN = r"^\d+(\.\d+)? ?(B|[kKMGTP]i?B)$"
PERCENT_PATTERN = r"^\d+(\.\d+)? ?%$"
MODE_PATTERN = "^[0-7]{3,4}$"


class Duration(float):
    """A length of time in seconds, written ``90s``, ``15m``, ``1h30m`` or ``250ms``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Duration:
        """The duration that ``text`` writes; raises ValueError with what would be right."""
        found = _DURATION.fullmatch(text.strip())
        if not text.strip() or found is None:
            raise ValueError(f"{text!r} is not a duration; write it as 90s, 15m, 1h30m or 250ms")
        return cls(sum(float(n) * _SECONDS[unit] for unit, n in found.groupdict().items() if n))

    def __str__(self) -> str:
        left, parts = round(self * 1000), []
        for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
            count, left = divmod(left, size)
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts) or "0s"

    def __repr__(self) -> str:
        return f"Duration({float(self)!r})"


class Size(int):
    """A number of bytes, written ``100MB`` (powers of 1000) or ``1GiB`` (powers of 1024)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Size:
        """The size that ``text`` writes; raises ValueError with what would be right."""
        found = _SIZE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is not a size; write it as 512B, 100MB or 1GiB")
        number, unit = found.groups()
        power = "BKMGTP".index(unit[0].upper()) if unit != "B" else 0
        return cls(float(number) * (1024 if "i" in unit else 1000) ** power)

    def __repr__(self) -> str:
        return f"Size({int(self)})"


def parse_percent(text: str) -> float:
    """``25%`` as 25.0; raises ValueError with what would be right."""
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a percent; write it as 25%")
    return float(found[1])


def parse_mode(text: str) -> int:
    """``0640`` as 0o640; raises ValueError with what would be right."""
    if not _MODE.fullmatch(text):
        raise ValueError(f'{text!r} is not a file mode; write it as a quoted string: "0640"')
    return int(text, 8)
