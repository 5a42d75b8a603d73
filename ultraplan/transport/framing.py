"""The framed shell protocol, as text and bytes: no I/O here.

A shell reads programs from its stdin. Each is one line of the form::

    (unset _up_nonce;eval ' PROGRAM') </dev/null;frame_end SEQUENCE $?

The program is one quoted word, so whatever it holds, a syntax error included, ends with its subshell. After
it the shell writes an end mark, the unguessable nonce of the session with the program's number and exit code,
on stdout and on stderr. What came before the mark is the program's output, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ultraplan.shell import library, quote

HEAD, TAIL = 768 * 1024, 256 * 1024
"""How many bytes of one stream of one program are kept of its beginning and of its end."""

_MARK = b"\x1e"


class FrameError(Exception):
    """The other end does not speak the protocol (any more)."""


def opening(nonce: str) -> bytes:
    """What a new shell is sent first: the library, the nonce, and an end mark numbered 0 whose status is the
    shell's pid."""
    return f"{library()}\n_up_nonce={nonce}\nframe_end 0 $$\n".encode()


def frames(texts: Sequence[str], first: int, stops: Sequence[bool] | None = None) -> bytes:
    """The lines that run ``texts``, numbered from ``first``. Raises ValueError for a NUL character.

    With ``stops`` the shell skips, and does not answer, all that follow the first non-zero exit of a program for which
    it is true. Surrogates (Python's undecodable bytes) are sent as the bytes that they stand for.
    """
    lines = [] if stops is None else ["_up_status=0\n"]
    for index, text in enumerate(texts):
        number = first + index
        # The blank: no shell takes a program that begins with a dash for an option of eval.
        run = f"(unset _up_nonce;eval {quote(' ' + text)}) </dev/null"
        if stops is None:
            lines.append(f"{run};frame_end {number} $?\n")
        elif stops[index]:
            lines.append(f'[ "$_up_status" != 0 ]||{{ {run};_up_status=$?;frame_end {number} "$_up_status";}}\n')
        else:
            lines.append(f'[ "$_up_status" != 0 ]||{{ {run};frame_end {number} $?;}}\n')
    return "".join(lines).encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Part:
    """One stream's share of an answer."""

    number: int
    status: int
    data: bytes
    truncated: bool


class Kept:
    """Collects one stream in bounded memory: its head, and its tail in a ring of chunks."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        self._head_limit, self._tail_limit = head, tail
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Take ``data``; what lies between head and tail is dropped."""
        self._total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > 2 * self._tail_limit:
                del self._tail[: -self._tail_limit]

    def take(self) -> tuple[bytes, bool]:
        """What is kept, a line in the middle for what was dropped, and whether any was; starts anew."""
        tail = bytes(self._tail[-self._tail_limit :]) if self._tail_limit else b""
        dropped = self._total - len(self._head) - len(tail)
        gap = b"\n[... %d bytes left out ...]\n" % dropped if dropped else b""
        data = bytes(self._head) + gap + tail
        self._head, self._tail, self._total = bytearray(), bytearray(), 0
        return data, dropped > 0


class Parser:
    """Cuts one stream into `Part`s at its end marks. Memory: what is kept, and one chunk."""

    def __init__(self, nonce: str, head: int = HEAD, tail: int = TAIL) -> None:
        self._begin = _MARK + nonce.encode() + b" "
        self._mark = re.compile(re.escape(self._begin) + rb"(\d+) (\d+)\n")
        self._kept = Kept(head, tail)
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Part]:
        """The parts that ``chunk`` completes. Raises `FrameError` for a nonce without the rest of a mark."""
        data = self._rest + chunk
        parts = []
        while (at := data.find(self._begin)) >= 0:
            mark = self._mark.match(data, at)
            if mark is None:
                if b"\n" in data[at : at + 100] or len(data) - at >= 100:
                    raise FrameError("an end mark is damaged")
                break
            self._kept.add(data[:at])
            content, truncated = self._kept.take()
            parts.append(Part(int(mark[1]), int(mark[2]), content, truncated))
            data = data[mark.end() :]
        if at < 0:  # perhaps the beginning of a mark, cut by the chunk's end
            at = data.rfind(_MARK, max(0, len(data) - len(self._begin) + 1))
            if at < 0 or not self._begin.startswith(data[at:]):
                at = len(data)
        self._kept.add(data[:at])
        self._rest = data[at:]
        return parts

    def skip(self) -> None:
        """Drop what came while no program was out: something in the background wrote it."""
        self._kept.take()
        self._rest = b""

    def unfinished(self) -> bytes:
        """What came since the last mark (for messages)."""
        return self._kept.take()[0] + self._rest
