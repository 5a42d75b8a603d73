"""What every place for backups promises: see `ultraplan.backup.stores.base`."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.backup_stores import PLACES
from ultraplan.backup.errors import AlreadyThere, StoreError
from ultraplan.backup.stores.base import Store, Stored


@pytest.fixture(params=sorted(PLACES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    folder = tmp_path / "place"
    folder.mkdir()
    with PLACES[request.param](folder) as it:
        yield it
        it.close()


def put(store: Store, key: str, content: bytes, *, exclusive: bool = False) -> None:
    store.put(key, io.BytesIO(content), exclusive=exclusive)


def get(store: Store, key: str) -> bytes:
    sink = io.BytesIO()
    store.get(key, sink)
    return sink.getvalue()


def keys(store: Store, prefix: str = "") -> list[str]:
    return [one.key for one in store.list(prefix)]


CONTENTS = {"nothing": b"", "a byte": b"\0", "lines": b"a\nb\n", "all bytes": bytes(range(256)) * 17,
            "more than a block": os.urandom(3_000_001)}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_what_was_put_is_got_byte_for_byte(store: Store, content: bytes) -> None:
    put(store, "box/set/data", content)
    assert get(store, "box/set/data") == content
    assert list(store.list()) == [Stored("box/set/data", len(content))]


def test_a_put_over_an_object_replaces_it(store: Store) -> None:
    put(store, "a/b", b"one")
    put(store, "a/b", b"two, longer")
    assert get(store, "a/b") == b"two, longer"
    assert keys(store) == ["a/b"]


def test_an_exclusive_put_never_replaces(store: Store) -> None:
    put(store, "a/b", b"one", exclusive=True)
    with pytest.raises(AlreadyThere):
        put(store, "a/b", b"two", exclusive=True)
    assert get(store, "a/b") == b"one"
    assert keys(store) == ["a/b"]


def test_of_many_exclusive_puts_at_once_one_wins(store: Store) -> None:
    put(store, "a/warm", b"")
    start = threading.Barrier(4)

    def attempt(number: int) -> int | None:
        start.wait()
        try:
            put(store, "a/lock", str(number).encode() * 1000, exclusive=True)
        except AlreadyThere:
            return None
        return number

    with ThreadPoolExecutor(4) as pool:
        won = [number for number in pool.map(attempt, range(4)) if number is not None]
    assert len(won) == 1
    assert get(store, "a/lock") == str(won[0]).encode() * 1000


def test_the_list_is_sorted_and_goes_by_the_beginning_of_keys(store: Store) -> None:
    for key in ("b/2", "b/1", "a/1", "a-b/1", "ab/1", "a/1-2", "a/x/y"):
        put(store, key, b"x")
    assert keys(store) == sorted(["b/2", "b/1", "a/1", "a-b/1", "ab/1", "a/1-2", "a/x/y"])
    assert keys(store, "a/") == ["a/1", "a/1-2", "a/x/y"]
    assert keys(store, "a/1") == ["a/1", "a/1-2"]
    assert keys(store, "none/") == []


def test_more_objects_than_a_page_are_all_listed(store: Store) -> None:
    for number in range(40):
        put(store, f"many/{number:04}/{'x' * 120}", b"")
    assert len(keys(store)) == 40


def test_what_is_removed_is_gone_and_removing_it_again_is_no_mistake(store: Store) -> None:
    put(store, "a/b/c", b"x")
    put(store, "a/d", b"y")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never/there")
    assert keys(store) == ["a/d"]
    put(store, "a/b/c", b"again")
    assert get(store, "a/b/c") == b"again"


def test_an_object_that_is_not_there_is_told(store: Store) -> None:
    with pytest.raises(StoreError, match="a/b"):
        get(store, "a/b")


def test_no_object_can_be_called_so(store: Store) -> None:
    for key in ("../evil", "/etc/evil", "a//b", "a/../b", "", "a/.hidden", "-rf", "a b", "a\nb", "a/", "ä", "a/$(id)",
                "x" * 200):
        with pytest.raises(StoreError, match="cannot be the name"):
            put(store, key, b"x")
        with pytest.raises(StoreError, match="cannot be the name"):
            get(store, key)
        with pytest.raises(StoreError, match="cannot be the name"):
            store.delete(key)
    assert keys(store) == []


class Breaking:
    """A source that fails after some bytes."""

    def __init__(self, after: int) -> None:
        self._left = after

    def read(self, count: int) -> bytes:
        if self._left <= 0:
            raise ValueError("the source broke")
        count = min(count if count > 0 else 65536, self._left)
        self._left -= count
        return bytes(count)


@pytest.mark.parametrize("after", [0, 100, 9_000_000])
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_source_that_breaks_leaves_what_was_there(store: Store, after: int, exclusive: bool) -> None:
    put(store, "a/old", b"old")
    for key in ("a/new", "a/old"):
        with pytest.raises(ValueError, match="the source broke"):
            store.put(key, Breaking(after), exclusive=exclusive and key == "a/new")
    assert keys(store) == ["a/old"]
    assert get(store, "a/old") == b"old"
    assert store.sweep(0) == 0, "it cleaned up itself"


def test_a_sink_that_breaks_breaks_the_get(store: Store) -> None:
    put(store, "a/b", bytes(5_000_000))

    class Full:
        def write(self, data: bytes) -> None:
            raise ValueError("the sink is full")

    with pytest.raises(ValueError, match="the sink is full"):
        store.get("a/b", Full())
    assert len(get(store, "a/b")) == 5_000_000


class Endless:
    """So many bytes, made as they are read."""

    def __init__(self, size: int) -> None:
        self._left, self.digest = size, hashlib.sha256()

    def read(self, count: int) -> bytes:
        count = min(count if count > 0 else 65536, self._left)
        self._left -= count
        data = os.urandom(count)
        self.digest.update(data)
        return data


def test_large_objects_pass_in_little_memory(store: Store) -> None:
    source, digest = Endless(100_000_000), hashlib.sha256()

    class Sink:
        def write(self, data: bytes) -> None:
            digest.update(data)

    tracemalloc.start()
    try:
        store.put("a/large", source)
        store.get("a/large", Sink())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert digest.hexdigest() == source.digest.hexdigest()
    assert peak < 64_000_000


def test_several_threads_use_it_at_once(store: Store) -> None:
    def work(number: int) -> bool:
        content = str(number).encode() * 10_000
        put(store, f"t/{number}", content)
        return get(store, f"t/{number}") == content

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(12)))
    assert len(keys(store, "t/")) == 12
