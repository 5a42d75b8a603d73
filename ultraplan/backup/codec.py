"""Compress and encrypt, decrypt and decompress: zstd inside age, streaming both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, cast

from ultraplan.backup.errors import Damaged, Untrusted
from ultraplan.backup.pipes import MEBIBYTE
from ultraplan.backup.stores.base import Reader, Writer

LEVEL = 3
_THREADS = 2
_WINDOW = 8 << 20  # bytes; a frame that asks for more would take memory at the reader's expense


class _Compressed:
    """A reader of ``source``, compressed; ``seen`` gets each part as it is before."""

    def __init__(self, source: Reader, seen: Callable[[bytes], None] | None) -> None:
        import zstandard

        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, threads=_THREADS, write_checksum=True, write_content_size=False)
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._source, self._seen = source, seen
        self._ready = memoryview(b"")
        self._ended = False
        self.error: BaseException | None = None

    def read(self, count: int) -> bytes:
        try:
            while not self._ready and not self._ended:
                data = self._source.read(MEBIBYTE)
                if data:
                    if self._seen is not None:
                        self._seen(data)
                    self._ready = memoryview(self._compressor.compress(data))
                else:
                    self._ended = True
                    self._ready = memoryview(self._compressor.flush())
        except BaseException as error:
            self.error = error  # on the way through Rust only its text survives
            raise
        part = self._ready[:count]
        self._ready = self._ready[len(part):]
        return bytes(part)


class _Kept:
    """Passes calls through and keeps the error that one of them raised."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.error: BaseException | None = None

    def read(self, count: int) -> bytes:
        try:
            data: bytes = self._inner.read(count)
        except BaseException as error:
            self.error = self.error or error
            raise
        return data

    def write(self, data: bytes) -> int:
        try:
            self._inner.write(data)
        except BaseException as error:
            self.error = self.error or error  # what is still buffered may be written after it
            raise
        return len(data)

    def flush(self) -> None:
        pass


def encrypt(source: Reader, sink: Writer, recipients: Iterable[str],
            seen: Callable[[bytes], None] | None = None) -> None:
    """Write ``source`` into ``sink``, compressed and encrypted to all ``recipients``. What they raise is raised."""
    import pyrage

    compressed, kept = _Compressed(source, seen), _Kept(sink)
    try:
        pyrage.encrypt_io(compressed, kept, [pyrage.x25519.Recipient.from_str(one) for one in recipients])
    except BaseException as error:  # noqa: BLE001 - what came through Rust is told as what it was before
        raise compressed.error or kept.error or error from None


def decrypt(source: Reader, sink: Writer, identities: Sequence[str]) -> None:
    """Write what ``source`` holds, decrypted and decompressed, into ``sink``, at most a mebibyte at a time.

    Raises `Untrusted` where no identity fits, `Damaged` where the bytes are not what they were, and what the two raise.
    That everything came is for the caller to know, by size and digest.
    """
    import pyrage
    import zstandard

    if not identities:
        raise Untrusted("no identity is given, and the content is encrypted", "give the recovery.key of these backups")
    kept, output = _Kept(source), _Kept(sink)
    unpacking = _Kept(zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_writer(
        cast(BinaryIO, output), write_size=MEBIBYTE, closefd=False))
    try:
        pyrage.decrypt_io(kept, unpacking, [pyrage.x25519.Identity.from_str(one) for one in identities])
    except BaseException as error:
        known = kept.error or output.error
        if known is not None:
            raise known from None
        if unpacking.error is not None:
            raise Damaged(f"the content cannot be decompressed: {unpacking.error}") from None
        if isinstance(error, pyrage.DecryptError) and "matching keys" in str(error):
            raise Untrusted("none of the identities fits: the content is encrypted to others",
                            "`ultraplan backup show` names the recipients") from None
        if isinstance(error, pyrage.DecryptError | OSError):
            raise Damaged(f"the content cannot be decrypted: {error}") from None
        raise
