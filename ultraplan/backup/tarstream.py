"""Archives while they pass by: a strict reader of what GNU tar writes with ``--format=posix --sort=name``.

It is fed bytes and gives members, each with the SHA-256 of its content. POSIX.1-2001 pax interchange format, with GNU
tar's sparse format 1.0 and the SCHILY keywords for extended attributes and ACLs. Whatever else an archive may hold is
refused: what this reader and tar could understand differently would be a way out of the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator

from ultraplan.backup.errors import Damaged
from ultraplan.backup.members import (
    BLOCK,
    CHAR,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    SYMLINK,
    Member,
    parse_mtime,
)

_BLOCK = 512
_ZEROS = bytes(1 << 20)
_EMPTY_BLOCK = bytes(_BLOCK)
_MOST_EXTENDED = 16 << 20  # bytes of one extended header: attributes of 64 KiB each, and there are few
_MOST_MAP = 64 << 20       # bytes of one map of holes
_KINDS = {b"0": FILE, b"\0": FILE, b"1": HARDLINK, b"2": SYMLINK, b"3": CHAR, b"4": BLOCK, b"5": FOLDER, b"6": FIFO}
_KNOWN = frozenset((b"path", b"linkpath", b"size", b"mtime", b"uid", b"gid", b"uname", b"gname"))
_XATTR, _ACL, _SPARSE = b"SCHILY.xattr.", b"SCHILY.acl.", b"GNU.sparse."
_NO_CONTENT = hashlib.sha256().hexdigest()


class TarReader:
    """Feed it an archive; it calls ``on_member`` for each member, in order, when its content has passed.

    ``roots``: the paths that members must be, or lie below. Raises `Damaged` at the first byte that is not as it has to
    be. ``total``: bytes fed so far.
    """

    def __init__(self, roots: Collection[bytes], on_member: Callable[[Member], None]) -> None:
        self._order = _Order(roots)
        self._on_member = on_member
        self._buffer = b""
        self._at = 0
        self._ended = False
        self.total = 0
        self._machine = self._read()
        next(self._machine)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        self._buffer = data if self._at == len(self._buffer) else self._buffer[self._at:] + data
        self._at = 0
        self._machine.send(None)

    def finish(self) -> None:
        """There are no more bytes; raises `Damaged` where the archive is not at its end."""
        if not self._ended:
            raise Damaged("the archive ends in the middle")
        self._order.finish()

    # -- below: how

    def _take(self, count: int) -> Generator[None, None, bytes]:
        """The next ``count`` bytes, which have to fit in memory."""
        while len(self._buffer) - self._at < count:
            yield
        start = self._at
        self._at += count
        return self._buffer[start:self._at]

    def _read(self) -> Generator[None, None, None]:
        while True:
            header = yield from self._take(_BLOCK)
            if header == _EMPTY_BLOCK:
                break
            extended: dict[bytes, bytes] = {}
            if header[156:157] == b"x":
                size = _number(_checked(header)[124:136])
                if size > _MOST_EXTENDED:
                    raise Damaged("an extended header is longer than any that tar writes")
                padded = yield from self._take(-(-size // _BLOCK) * _BLOCK)
                extended = _extended(padded[:size])
                header = yield from self._take(_BLOCK)
            member, packed = _member(_checked(header), extended)
            self._order.check(member)
            if member.kind == FILE:
                yield from self._content(member, packed, b"GNU.sparse.major" in extended)
            self._on_member(member)
        yield from self._end()

    def _content(self, member: Member, packed: int, sparse: bool) -> Generator[None, None, None]:
        if packed == 0 and not sparse:
            member.sha256 = _NO_CONTENT
            return
        digest = hashlib.sha256()
        padding = -packed % _BLOCK
        if sparse:
            segments, used = yield from self._map(member, packed)
            reached = 0
            for offset, length in segments:
                _zeros(digest, offset - reached)
                yield from self._hash(digest, length)
                reached, used = offset + length, used + length
            _zeros(digest, member.size - reached)
            if used != packed:
                raise Damaged("the holes of a sparse file do not fit its size")
        else:
            yield from self._hash(digest, packed)
        yield from self._take(padding)
        member.sha256 = digest.hexdigest()

    def _hash(self, digest: hashlib._Hash, count: int) -> Generator[None, None, None]:
        while count:
            if self._at == len(self._buffer):
                yield
            part = memoryview(self._buffer)[self._at:self._at + count]
            digest.update(part)
            self._at += len(part)
            count -= len(part)

    def _map(self, member: Member, packed: int) -> Generator[None, None, tuple[list[tuple[int, int]], int]]:
        """The data segments of a sparse file (offset, length), and how many bytes the map took."""
        text = b""
        wanted: int | None = None
        while wanted is None or text.count(b"\n") < 1 + 2 * wanted:
            if len(text) >= min(packed, _MOST_MAP):
                raise Damaged("the map of a sparse file does not end")
            text += yield from self._take(_BLOCK)
            if wanted is None and b"\n" in text:
                wanted = _decimal(text[:text.index(b"\n")])
        numbers = [_decimal(line) for line in text.split(b"\n", 1 + 2 * wanted)[1:1 + 2 * wanted]]
        segments = list(zip(numbers[::2], numbers[1::2], strict=True))
        reached = 0
        for offset, length in segments:
            if offset < reached or offset + length > member.size:
                raise Damaged("the map of a sparse file is out of order")
            reached = offset + length
        return segments, len(text)

    def _end(self) -> Generator[None, None, None]:
        """A second empty block, and nothing but zeros up to the end."""
        if (yield from self._take(_BLOCK)) != _EMPTY_BLOCK:
            raise Damaged("something follows the end of the archive")
        self._ended = True
        while True:
            rest = self._buffer[self._at:]
            if rest.strip(b"\0"):
                raise Damaged("something follows the end of the archive")
            self._at = len(self._buffer)
            yield


class _Order:
    """That members come as ``--sort=name`` makes them come: so none comes twice, and each lies in a folder."""

    def __init__(self, roots: Collection[bytes]) -> None:
        self._missing = set(roots)
        self._roots = frozenset(roots)
        self._last: list[bytes] = []
        self._folders: list[bytes] = []  # the folders that the last member lies in, outermost first

    def check(self, member: Member) -> None:
        path = member.path
        parts = [] if path == b"." else path.split(b"/")
        if path != b"." and (b"" in parts or b"." in parts or b".." in parts):
            raise Damaged(f"a member is called {path!r}: it would leave the target")
        if self._last and parts <= self._last:
            raise Damaged(f"the member {path!r} is out of order, or there twice")
        self._last = parts
        while self._folders and self._folders[-1] != b"." and not path.startswith(self._folders[-1] + b"/"):
            self._folders.pop()
        if path in self._roots:
            self._missing.discard(path)
        elif not self._folders or (path.rpartition(b"/")[0] or b".") != self._folders[-1]:
            raise Damaged(f"the member {path!r} does not lie in a folder of the archive")
        if member.kind == FOLDER:
            self._folders.append(path)

    def finish(self) -> None:
        if self._missing:
            raise Damaged(f"the archive has no {min(self._missing)!r}")


def _checked(header: bytes) -> bytes:
    if header[257:265] != b"ustar\x0000":
        raise Damaged("the archive is not in POSIX format")
    if sum(header) - sum(header[148:156]) + 256 != _number(header[148:156]):
        raise Damaged("a header's checksum is wrong")
    return header


def _number(field: bytes) -> int:
    digits = field.rstrip(b"\0 ").lstrip(b" ")
    try:
        return int(digits, 8) if digits.isdigit() else _wrong(digits)
    except ValueError:
        raise Damaged("a header holds something that is no number") from None


def _wrong(digits: bytes) -> int:
    if digits:
        raise ValueError(digits)
    return 0


def _decimal(field: bytes) -> int:
    if not field.isdigit() or len(field) > 19:
        raise Damaged("an extended header holds something that is no number")
    return int(field)


def _extended(data: bytes) -> dict[bytes, bytes]:
    """The records ``LENGTH KEY=VALUE\\n`` of a pax extended header."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        end = at + _decimal(data[at:space]) if space > 0 else 0
        if not at < end <= len(data) or data[end - 1:end] != b"\n" or end <= space:
            raise Damaged("an extended header is malformed")
        key, equals, value = data[space + 1:end - 1].partition(b"=")
        if not equals or key in found:
            raise Damaged("an extended header is malformed")
        if key not in _KNOWN and not key.startswith((_XATTR, _ACL, _SPARSE)):
            raise Damaged(f"an extended header holds {key!r}, which no backup has")
        found[key] = value
        at = end
    return found


def _member(header: bytes, extended: dict[bytes, bytes]) -> tuple[Member, int]:
    """The member a header describes, and how many bytes of content follow it."""
    kind = _KINDS.get(header[156:157])
    if kind is None:
        raise Damaged(f"the archive holds a member of type {header[156:157]!r}, which no backup has")
    packed = _decimal(extended[b"size"]) if b"size" in extended else _number(header[124:136])
    name, prefix = _text(header[0:100]), _text(header[345:500])
    raw = extended.get(b"path", prefix + b"/" + name if prefix else name)
    size = packed
    if b"GNU.sparse.major" in extended:
        if kind != FILE or (extended[b"GNU.sparse.major"], extended.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise Damaged("a sparse file is not in the format of tar 1.16 and later")
        raw = extended.get(b"GNU.sparse.name", b"")
        size = _decimal(extended.get(b"GNU.sparse.realsize", b""))
    elif any(key.startswith(_SPARSE) for key in extended):
        raise Damaged("a sparse file is not in the format of tar 1.16 and later")
    link = None
    if kind in (SYMLINK, HARDLINK):
        link = extended.get(b"linkpath", _text(header[157:257]))
        if kind == HARDLINK:
            link = _path(link)
    if kind != FILE and packed:
        raise Damaged("a member that is no file has content")
    try:
        mtime = parse_mtime(extended[b"mtime"].decode("ascii")) if b"mtime" in extended \
            else _number(header[136:148]) * 1_000_000_000
    except ValueError:
        raise Damaged("a header holds a time that is none") from None
    member = Member(
        path=_path(raw), kind=kind, mode=_number(header[100:108]),
        uid=_decimal(extended[b"uid"]) if b"uid" in extended else _number(header[108:116]),
        gid=_decimal(extended[b"gid"]) if b"gid" in extended else _number(header[116:124]),
        user=extended.get(b"uname", _text(header[265:297])), group=extended.get(b"gname", _text(header[297:329])),
        mtime=mtime, size=size if kind == FILE else 0, link=link,
        device=(_number(header[329:337]), _number(header[337:345])) if kind in (CHAR, BLOCK) else None)
    if len(extended) > 1 or b"mtime" not in extended:
        for key, value in extended.items():
            if key.startswith(_XATTR):
                # tar writes its own two characters in names of attributes as %3D and %25
                member.xattrs[key[len(_XATTR):].replace(b"%3D", b"=").replace(b"%25", b"%")] = value
            elif key == b"SCHILY.acl.access":
                member.acl = value
            elif key == b"SCHILY.acl.default":
                member.default_acl = value
    return member, packed


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _path(raw: bytes) -> bytes:
    """A member's name without ``./`` and without the slash of a folder; anything not relative is refused."""
    if b"\0" in raw or not raw.startswith(b"./"):
        raise Damaged(f"a member is called {raw!r}: it would leave the target")
    return raw[2:].rstrip(b"/") or b"."


def _zeros(digest: hashlib._Hash, count: int) -> None:
    view = memoryview(_ZEROS)
    while count > 0:
        digest.update(view[:count])
        count -= len(_ZEROS)
