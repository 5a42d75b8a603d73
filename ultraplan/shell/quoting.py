"""The one place where a value becomes shell text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ultraplan.secrets import CLOSE, OPEN

_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_BYTE = [chr(b) if 32 <= b < 127 and b not in b"\\%'" else f"\\{b:03o}" for b in range(256)]
_PIECES = re.compile(f"({OPEN}[^{OPEN}{CLOSE}]*{CLOSE})")
_NOT_TEXT = re.compile("[\0\r\udc80-\udcff]")
_ESCAPED = re.compile("[\udc80-\udcff]")


def quote(value: str) -> str:
    """``value`` as exactly one shell word. Anything but plain characters stands in single quotes.

    Secret markers always stand in single quotes, which is what `Secrets.reveal_in_shell` relies on. Bytes that are not
    UTF-8 (as os.fsdecode escapes them) reach the host as they are. Raises ValueError for a NUL character, which no
    argument can hold.
    """
    if "\0" in value:
        raise ValueError("a NUL character cannot be part of a shell word")
    if _SAFE.fullmatch(value):
        return value
    if _ESCAPED.search(value):
        kept = value.rstrip("\n")  # a command substitution would drop the newlines at the end
        return f'"$({literal(kept)})"' + (f"'{value[len(kept):]}'" if kept != value else "")
    return "'" + value.replace("'", "'\\''") + "'"


def join(words: Iterable[str]) -> str:
    """``words`` quoted and separated by spaces."""
    return " ".join(map(quote, words))


def portable(words: Sequence[str]) -> tuple[str, ...]:
    """The words of ``sh -c TEXT NAME ARGUMENT…`` after ``sh``, such that any login shell that gets them quoted starts
    the same program: csh ends a quoted word at a newline and expands ``!`` in it, fish takes two backslashes for one.
    Other words are given back as they are."""
    if len(words) < 3 or words[0] != "-c":
        return tuple(words)
    text = f"set -- {join(words[3:])}\n{words[1]}" if words[3:] else words[1]
    octal = "".join(f"\\0{byte:03o}" for byte in text.encode("utf-8", "surrogateescape"))
    return "-c", 'eval "$(printf %b "$1")"', words[2], octal


def plain(raw: bytes) -> str:
    """The text of bytes that came from outside. It encodes (surrogateescape) to the same bytes, and nothing in it is a
    secret marker, whatever the bytes are."""
    text = raw.decode("utf-8", "surrogateescape")
    for mark in (OPEN, CLOSE):
        if mark in text:
            text = text.replace(mark, mark.encode().decode("ascii", "surrogateescape"))
    return text


def literal(content: bytes | str) -> str:
    """A shell command, without a fork, that prints ``content`` byte for byte (any bytes, NUL included).

    Text may hold secret markers, and bytes that are not UTF-8 as `plain` escapes them.
    """
    text = content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
    if not _NOT_TEXT.search(text):
        return f"printf %s {quote(text)}"
    commands = []
    for piece in filter(None, _PIECES.split(text)):
        if _PIECES.fullmatch(piece) and not _NOT_TEXT.search(piece):
            commands.append(f"printf %s {quote(piece)}")
        else:
            octal = "".join(_BYTE[b] for b in piece.encode("utf-8", "surrogateescape"))
            octal = "\\055" + octal[1:] if octal.startswith("-") else octal  # else printf takes it for an option
            commands.append(f"printf '{octal}'")
    return commands[0] if len(commands) == 1 else "{ " + " && ".join(commands) + "; }"
