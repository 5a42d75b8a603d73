"""Answers are cut at their marks, however the bytes arrive."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultraplan.transport.framing import FrameError, Kept, Parser, Part

NONCE = "0123456789abcdef" * 2


def mark(number: int, status: int) -> bytes:
    return b"\x1e%s %d %d\n" % (NONCE.encode(), number, status)


def chunks(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    for size in sizes:
        if not data:
            return
        yield data[:size]
        data = data[size:]
    yield data


# Pieces of marks are likelier than chance would have them.
CONTENT = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from(
        [b"\x1e", b"\x1e" + NONCE[:9].encode(), NONCE.encode() + b" 1 0\n"])),
    max_size=6).map(b"".join).filter(lambda content: b"\x1e" + NONCE.encode() not in content)


@settings(max_examples=150)
@given(st.lists(st.tuples(CONTENT, st.integers(0, 255)), max_size=6), st.lists(st.integers(1, 40)))
def test_any_way_of_cutting_the_stream_gives_the_same_parts(answers: list[tuple[bytes, int]], sizes: list[int]) -> None:
    stream = b"".join(content + mark(n, status) for n, (content, status) in enumerate(answers))
    parser = Parser(NONCE)
    parts = [part for chunk in chunks(stream, sizes) for part in parser.feed(chunk)]
    assert parts == [Part(n, status, content, False) for n, (content, status) in enumerate(answers)]
    assert parser.unfinished() == b""


def test_one_byte_at_a_time() -> None:
    parser = Parser(NONCE)
    stream = b"\x1e\x1ex" + mark(7, 3)
    assert [p for n in range(len(stream)) for p in parser.feed(stream[n : n + 1])] == [Part(7, 3, b"\x1e\x1ex", False)]


@pytest.mark.parametrize("rest", [b"x 1\n", b"1\n", b"1" * 200, b"-1 0\n"])
def test_a_damaged_mark_is_an_error(rest: bytes) -> None:
    with pytest.raises(FrameError):
        Parser(NONCE).feed(b"\x1e" + NONCE.encode() + b" " + rest)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=20), st.integers(0, 40), st.integers(0, 40))
def test_head_and_tail_are_kept_and_what_is_left_out_is_counted(pieces: list[bytes], head: int, tail: int) -> None:
    kept, whole = Kept(head, tail), b"".join(pieces)
    for piece in pieces:
        kept.add(piece)
    data, truncated = kept.take()
    if len(whole) <= head + tail:
        assert (data, truncated) == (whole, False)
    else:
        gap = b"\n[... %d bytes left out ...]\n" % (len(whole) - head - tail)
        assert (data, truncated) == (whole[:head] + gap + whole[len(whole) - tail :], True)
    assert kept.take() == (b"", False)
