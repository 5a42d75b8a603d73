"""The one place where a value becomes shell text."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_BYTE = [chr(b) if 32 <= b < 127 and b not in b"\\%'" else f"\\{b:03o}" for b in range(256)]


def quote(value: str) -> str:
    """``value`` as exactly one shell word. Anything but plain characters stands in single quotes.

    Secret markers always stand in single quotes, which is what `Secrets.reveal_in_shell` relies on.
    Raises ValueError for a NUL character, which no argument can hold.
    """
    if "\0" in value:
        raise ValueError("a NUL character cannot be part of a shell word")
    if _SAFE.fullmatch(value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"


def join(words: Iterable[str]) -> str:
    """``words`` quoted and separated by spaces."""
    return " ".join(map(quote, words))


def literal(content: bytes) -> str:
    """A shell command, without a fork, that prints ``content`` byte for byte (any bytes, NUL included)."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text and "\r" not in text:
        return f"printf %s {quote(text)}"
    return "printf '" + "".join(_BYTE[b] for b in content) + "'"
