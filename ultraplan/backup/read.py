"""Read a set whole and check all of it: level 2, and what restore does before it writes its first byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from ultraplan.backup import codec
from ultraplan.backup.catalogue import Opened, fetch
from ultraplan.backup.errors import Damaged
from ultraplan.backup.manifest import Object
from ultraplan.backup.members import BLOCK, CHAR, FILE, HARDLINK, Member, Note, decode
from ultraplan.backup.names import DATA, FILES, RESTORE
from ultraplan.backup.pipes import Limit, Pieces, Pipe, Tick, drained, produced
from ultraplan.backup.stores.base import Reader, Store, Writer
from ultraplan.backup.tarstream import TarReader

_LONGEST_LINE = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read a set. ``identities``: age identities. ``tick`` hears of bytes that came from the store."""

    identities: Sequence[str] = field(repr=False)
    limit: Limit | None = None
    tick: Tick | None = None


@dataclass(slots=True)
class Checked:
    """What a whole reading found. ``pieces``: the digests that a second reading is held to. ``devices``: how many
    device files there are."""

    members: int = 0
    files: int = 0
    bytes: int = 0
    devices: int = 0
    notes: int = 0
    pieces: Pieces | None = None


def read_set(store: Store, opened: Opened, reading: Reading) -> Checked:
    """Level 2: every byte of the set is read and compared with what the manifest and the list say.

    Raises `Damaged` or `Untrusted` at the first thing that is wrong.
    """
    text = fetch(store, f"{opened.found.ref}/{RESTORE}", 1 << 20)
    if hashlib.sha256(text).hexdigest() != opened.manifest.objects[RESTORE].sha256:
        raise Damaged(f"{opened.found.ref}: {RESTORE} is not the one that was written")
    targets = _link_targets(store, opened, reading)
    checked = Checked(pieces=Pieces())
    with closing(listed(store, opened, replace(reading, tick=None))) as lines:
        against = _Against(lines, targets, checked)
        reader = TarReader([root.encode() for root in opened.manifest.roots], against.member)
        with content(store, opened, DATA, reading, checked.pieces) as source:
            codec.decrypt(source, _Feed(reader.feed), reading.identities)
        reader.finish()
        against.finish()
    told = opened.manifest.content
    if (checked.members, checked.files, checked.bytes, reader.total, checked.notes) != (
            told.members, told.files, told.bytes, told.tar, told.changed):
        raise Damaged(f"{opened.found.ref}: the content is not what the manifest counts")
    return checked


class _Feed:
    """A function as a `Writer`."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        self.write = feed


class _Against:
    """The archive's members, one by one held against the list; links have to lead to files that came before."""

    def __init__(self, lines: Iterator[Member | Note], targets: frozenset[bytes], checked: Checked) -> None:
        self._lines, self._targets, self._checked = lines, targets, checked
        self._seen: set[bytes] = set()

    def member(self, member: Member) -> None:
        if next(self._lines, None) != member:
            raise Damaged(f"{member.path!r} is not what the list of files says")
        if member.kind == HARDLINK and member.link not in self._seen:
            raise Damaged(f"{member.path!r} is a link to {member.link!r}, which is no file before it")
        if member.kind not in ("dir", HARDLINK) and member.path in self._targets:
            self._seen.add(member.path)
        self._checked.members += 1
        if member.kind in (FILE, HARDLINK):
            self._checked.files += 1
            self._checked.bytes += member.size
        elif member.kind in (CHAR, BLOCK):
            self._checked.devices += 1

    def finish(self) -> None:
        for line in self._lines:
            if not isinstance(line, Note):
                raise Damaged(f"the list of files names {line.path!r}, which the archive does not have")
            self._checked.notes += 1


def _link_targets(store: Store, opened: Opened, reading: Reading) -> frozenset[bytes]:
    """The members that hard links of the set lead to."""
    with closing(listed(store, opened, replace(reading, tick=None))) as lines:
        links = (line for line in lines if isinstance(line, Member) and line.kind == HARDLINK)
        return frozenset(line.link for line in links if line.link)


def listed(store: Store, opened: Opened, reading: Reading) -> Generator[Member | Note, None, None]:
    """The lines of the list of files, in order: members, then notes. Close the iterator where you stop early."""
    def produce(pipe: Pipe) -> None:
        with content(store, opened, FILES, reading) as source:
            codec.decrypt(source, pipe, reading.identities)

    with produced(produce) as pipe:
        rest = b""
        while data := pipe.read():
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise Damaged("a line of the list of files does not end")
            for line in lines:
                yield decode(line)
        if rest:
            raise Damaged("the list of files ends in the middle of a line")


@contextmanager
def content(store: Store, opened: Opened, name: str, reading: Reading,
            pieces: Pieces | None = None) -> Iterator[Reader]:
    """A large object of the set as a reader; when the block ends well, its size and digest are the manifest's."""
    def produce(pipe: Pipe) -> None:
        store.get(f"{opened.found.ref}/{name}", pipe)

    with produced(produce) as pipe:
        held = _Held(pipe, opened.manifest.objects[name], f"{opened.found.ref}: {name}", reading, pieces)
        yield held
        drained(held, _Feed(lambda _: None))
        held.finish()


class _Held:
    """A reader that stops at one byte too many, and knows whether all were right."""

    def __init__(self, source: Reader, told: Object, what: str, reading: Reading, pieces: Pieces | None) -> None:
        self._source, self._told, self._what = source, told, what
        self._tick, self._limit, self._pieces = reading.tick, reading.limit, pieces
        self._digest, self._size = hashlib.sha256(), 0

    def read(self, count: int) -> bytes:
        data = self._source.read(count)
        self._size += len(data)
        if self._size > self._told.size:
            raise Damaged(f"{self._what} is longer than {self._told.size} bytes")
        self._digest.update(data)
        if self._pieces is not None:
            self._pieces.add(data)
        if self._limit is not None:
            self._limit.wait(len(data))
        if self._tick is not None:
            self._tick(len(data))
        return data

    def finish(self) -> None:
        if self._pieces is not None:
            self._pieces.end()
        if self._size != self._told.size or self._digest.hexdigest() != self._told.sha256:
            raise Damaged(f"{self._what} is not what was stored: its digest does not match",
                          "use another set; `ultraplan backup list` shows them")


def write_archive(store: Store, opened: Opened, reading: Reading, pieces: Pieces, sink: Writer) -> None:
    """The second reading: write the archive into ``sink``, no byte of which differs from what `read_set` checked."""
    with content(store, opened, DATA, reading) as source:
        codec.decrypt(pieces.checked(source), sink, reading.identities)
