"""Make a set: read a source, compress, encrypt, store, sign, commit."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ultraplan import __version__
from ultraplan.backup import codec
from ultraplan.backup.errors import BackupError, SourceFailed, StoreError
from ultraplan.backup.instructions import restore_text
from ultraplan.backup.keys import KeyFile, public_text, recipients_for
from ultraplan.backup.manifest import Consistency, Content, Manifest, Object, Parent, timestamp, write_manifest
from ultraplan.backup.members import FILE, HARDLINK, Member, Note, encode, encode_note
from ultraplan.backup.names import (
    COMMIT,
    DATA,
    FILES,
    MANIFEST,
    RESTORE,
    SIGNATURE,
    WHOLE,
    check_name,
    new_set,
)
from ultraplan.backup.pipes import Limit, Pipe, Summed, Tick, produced
from ultraplan.backup.sources.base import Reads
from ultraplan.backup.stores.base import Reader, Store, Writer
from ultraplan.backup.tarstream import TarReader

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_IN_MEMORY = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a new set is made with. ``keys``: who can read it; ``signing``: who vouches for it; ``parent``: the newest
    set before it. ``read`` and ``stored`` hear of bytes read from the source and given to the store.
    ``unchanged``: a file that changes while it is read fails the whole."""

    name: str
    keys: KeyFile
    signing: Ed25519PrivateKey
    parent: Parent | None = None
    limit: Limit | None = None
    read: Tick | None = None
    stored: Tick | None = None
    unchanged: bool = False
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Made:
    """A committed set. ``notes``: what changed while it was read."""

    manifest: Manifest
    manifest_sha256: str
    notes: Sequence[Note]


def create(store: Store, source: Reads, order: Order) -> Made:
    """Make a set of ``source`` in ``store``. When this returns it is committed and durable; when it raises, nothing of
    it is visible, and what had been stored is removed as far as the store can still be reached.

    Raises `Refused`, `SourceFailed`, `StoreError`, and what is raised to stop it.
    """
    with contextlib.closing(source):
        return _create(store, source, order)


def _create(store: Store, source: Reads, order: Order) -> Made:
    started = order.clock()  # before a source takes its snapshot: what is written from now on may not be in it
    described, tools = source.describe(), source.tools()
    recipients = [one.key for one in recipients_for(order.keys, source.names)]
    set_id = new_set(started)
    prefix = f"{check_name(order.name)}/{set_id}/"
    made = _Set(store, prefix, order)
    try:
        with _Listing() as listing:
            tar_bytes, notes, at = made.put_data(source, recipients, listing)
            finished = order.clock()
            made.put(FILES, _encrypted(listing.reader(), recipients))
        signer = public_text(order.signing)
        text = restore_text(order.name, source.host, described, [root.decode() for root in source.roots],
                            timestamp(started), recipients, signer, source.afterwards)
        made.put(RESTORE, io.BytesIO(text))
        manifest = Manifest(
            name=order.name, set=set_id, started=timestamp(started), finished=timestamp(finished), host=source.host,
            source=described, roots=[root.decode() for root in source.roots],
            consistency=Consistency("point" if at else "interval", timestamp(started), timestamp(finished), at),
            parent=order.parent, tools={"ultraplan": __version__, **tools, **_libraries()}, recipients=recipients,
            content=Content(listing.members, listing.files, listing.bytes, tar_bytes, len(notes)),
            objects={name: made.objects[name] for name in (DATA, FILES, RESTORE)})
        content = write_manifest(manifest)
        made.put(MANIFEST, io.BytesIO(content))
        made.put(SIGNATURE, io.BytesIO(order.signing.sign(content)))
        made.commit()
    except BaseException:
        made.remove()
        raise
    return Made(manifest, made.objects[MANIFEST].sha256, notes)


class _Set:
    """The objects of one set, while they are stored."""

    def __init__(self, store: Store, prefix: str, order: Order) -> None:
        self._store, self._prefix, self._order = store, prefix, order
        self.objects: dict[str, Object] = {}

    def put(self, name: str, source: Reader | _Encrypted) -> None:
        """Store one object, and remember its size and digest."""
        if isinstance(source, _Encrypted):
            with produced(source.into) as pipe:
                self.put(name, pipe)
            return
        passing = Summed(source, self._order.stored, self._order.limit)
        self._store.put(self._prefix + name, passing, exclusive=True)
        self.objects[name] = Object(passing.size, passing.sha256)

    def put_data(self, source: Reads, recipients: list[str],
                 listing: _Listing) -> tuple[int, Sequence[Note], str | None]:
        """Store the archive; its size, what changed meanwhile, and the source's position."""
        reader = TarReader(source.roots, listing.add)

        def seen(data: bytes) -> None:
            reader.feed(data)
            if self._order.read is not None:
                self._order.read(len(data))

        with contextlib.closing(source.open()) as stream:
            def produce(pipe: Pipe) -> None:
                whole = _Whole(stream)
                codec.encrypt(whole, pipe, recipients, seen)
                ended.append(whole.ended)

            ended: list[Any] = []
            with produced(produce) as pipe:
                self.put(DATA, pipe)
        reader.finish()
        [end] = ended
        if self._order.unchanged and end.notes:
            first = end.notes[0]
            raise SourceFailed(f"{first.path.decode('utf-8', 'backslashreplace')}: {first.text}",
                               "stop what writes there, or take a snapshot and back that up")
        for note in end.notes:
            listing.note(note)
        return reader.total, end.notes, end.at

    def commit(self) -> None:
        """Make it a set. Before, see that the store has all of it: then it can only be there whole."""
        there = {one.key: one.size for one in self._store.list(self._prefix)}
        for name in WHOLE:
            size = there.get(self._prefix + name)
            if size != self.objects[name].size:
                raise StoreError(f"{self._store.url}: {name} was stored with {self.objects[name].size} bytes, and now "
                                 + ("is not there" if size is None else f"has {size}"),
                                 "something else writes to the store, or it loses what it took; nothing was committed")
        lines = "".join(f"{self.objects[name].sha256}  {name}\n" for name in WHOLE)
        self._store.put(self._prefix + COMMIT, io.BytesIO(lines.encode()), exclusive=True)

    def remove(self) -> None:
        """After a failure: remove what was stored, COMMIT first (it may be there although its put failed)."""
        with contextlib.suppress(BackupError, OSError):
            for name in (COMMIT, *reversed(WHOLE)):
                self._store.delete(self._prefix + name)


class _Whole:
    """A source's stream, whose end comes only when the source says that it is whole: a part is never taken for all."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.ended: Any = None

    def read(self, count: int) -> bytes:
        data: bytes = self._stream.read(count)
        if not data and self.ended is None:
            self.ended = self._stream.finish()
        return data


class _Encrypted:
    """Something to be compressed and encrypted on its way to the store."""

    def __init__(self, source: Reader, recipients: list[str]) -> None:
        self._source, self._recipients = source, recipients

    def into(self, sink: Writer) -> None:
        codec.encrypt(self._source, sink, self._recipients)


def _encrypted(source: Reader, recipients: list[str]) -> _Encrypted:
    return _Encrypted(source, recipients)


class _Listing:
    """The list of files while it grows: compressed, on an unnamed file beyond a few megabytes."""

    def __init__(self) -> None:
        import zstandard

        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._zstd = zstandard.ZstdCompressor(level=1).stream_writer(self._spool, closefd=False)
        self.members = self.files = self.bytes = 0

    def __enter__(self) -> _Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, member: Member) -> None:
        self.members += 1
        if member.kind in (FILE, HARDLINK):
            self.files += 1
            self.bytes += member.size
        self._zstd.write(encode(member))

    def note(self, note: Note) -> None:
        self._zstd.write(encode_note(note))

    def reader(self) -> Reader:
        import zstandard

        self._zstd.flush(zstandard.FLUSH_FRAME)
        self._spool.seek(0)
        return zstandard.ZstdDecompressor().stream_reader(self._spool)


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    import zstandard

    zstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    return {"zstd": f"libzstd {zstd} (zstandard {zstandard.__version__})", "age": f"pyrage {version('pyrage')}"}
