"""SSH packets sealed by AES-GCM (RFC 5647) in runs: what makes large files fast.

paramiko joins the bytes of a packet several times over, sends each with a system call of its own and reads each with
two; that costs more than the encryption does. Here a run of packets is sealed and sent with one call, and as many are
read as have arrived. The handshake, the agreement on new keys, and every other cipher stay paramiko's.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from paramiko.channel import Channel
from paramiko.common import MSG_CHANNEL_DATA
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer
from paramiko.ssh_exception import SSHException

_BLOCK, _TAG, _LENGTH = 16, 16, 4
_LEAST_PADDING = 4  # RFC 4253 section 6
_LARGEST = 256 * 1024  # OpenSSH's limit too
_ROOM = 2 * _LARGEST
_ABOUT_LENGTH = struct.Struct(">I")
_DATA = struct.Struct(">BII")  # RFC 4254 section 5.2: message number, channel, length of the data


class _Aead(Protocol):
    """`cryptography`'s AESGCM."""

    def encrypt(self, nonce: bytes, data: Any, associated_data: Any) -> bytes: ...

    def decrypt(self, nonce: bytes, data: Any, associated_data: Any) -> bytes: ...


class _Key:
    """The key of one direction; its nonces are 4 fixed bytes and a counter of 8 (RFC 5647 section 7.1)."""

    def __init__(self, aead: _Aead, iv: bytes) -> None:
        self.aead = aead
        self.packets = self.bytes = self.overflow = 0
        self._fixed, self._counter = iv[:4], int.from_bytes(iv[4:12], "big")

    def nonce(self, size: int) -> bytes:
        """The next packet's, which has ``size`` bytes on the wire."""
        nonce = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = (self._counter + 1) & 0xFFFF_FFFF_FFFF_FFFF
        self.packets += 1
        self.bytes += size
        return nonce


class ChannelData(Message):
    """Data for a channel, as many packets as it takes; `Packets` sends them together."""

    def __init__(self, channel: int, data: memoryview, largest: int) -> None:
        """``largest``: how many bytes the peer takes in one packet of this channel."""
        super().__init__()
        self._channel, self._data, self._largest = channel, data, largest

    def payloads(self) -> list[tuple[bytes, memoryview]]:
        """The payload of each packet, in two parts."""
        pieces = (self._data[at : at + self._largest] for at in range(0, len(self._data), self._largest))
        return [(_DATA.pack(MSG_CHANNEL_DATA, self._channel, len(piece)), piece) for piece in pieces]


class Packets(Packetizer):
    """paramiko's `Packetizer`, which does as it always did until AES-GCM has been agreed on."""

    def __init__(self, sock: socket.socket | Channel) -> None:
        """``sock``: a socket, or the channel to here of the connection to a jump host."""
        super().__init__(sock)  # type: ignore[arg-type]
        self._sock = sock
        self._sealing: _Key | None = None
        self._opening: _Key | None = None
        self._writing = threading.Lock()
        self._bytes = bytearray(_ROOM)
        self._view = memoryview(self._bytes)
        self._at = self._end = 0  # what was received and not looked at lies between

    # -- keys

    def set_outbound_cipher(self, block_engine: Any, block_size: int, mac_engine: Any, mac_size: int, mac_key: Any,
                            sdctr: bool = False, etm: bool = False, aead: bool = False,
                            iv_out: bytes | None = None) -> None:
        """paramiko's; called between two packets."""
        super().set_outbound_cipher(block_engine, block_size, mac_engine, mac_size, mac_key, sdctr, etm, aead, iv_out)
        self._sealing = self._key(self._sealing, block_engine, iv_out if aead else None)

    def set_inbound_cipher(self, block_engine: Any, block_size: int, mac_engine: Any, mac_size: int, mac_key: Any,
                           etm: bool = False, aead: bool = False, iv_in: bytes | None = None) -> None:
        """paramiko's; called between two packets."""
        super().set_inbound_cipher(block_engine, block_size, mac_engine, mac_size, mac_key, etm, aead, iv_in)
        self._opening = self._key(self._opening, block_engine, iv_in if aead else None)

    @staticmethod
    def _key(before: _Key | None, engine: _Aead, iv: bytes | None) -> _Key | None:
        if iv is not None:
            return _Key(engine, iv)
        if before is not None:  # paramiko's sequence numbers, which other ciphers need, stood still meanwhile
            raise SSHException("the peer changed from AES-GCM to another cipher")
        return None

    # -- out

    def send_message(self, data: Message) -> None:
        """Send one packet; of a `ChannelData` as many as it holds. Raises EOFError where the connection is gone."""
        run = data.payloads() if isinstance(data, ChannelData) else [(b"", memoryview(data.asbytes()))]
        with self._writing:
            key = self._sealing
            if key is None:
                for head, body in run:
                    super().send_message(Message(head + bytes(body)))
                return
            self.write_all(memoryview(b"".join([part for payload in run for part in _seal(key, *payload)])))
            if (key.packets >= self.REKEY_PACKETS or key.bytes >= self.REKEY_BYTES) and not self.need_rekey():
                self._trigger_rekey()  # type: ignore[attr-defined]

    # -- in

    def read_message(self) -> tuple[int, Message]:
        """The next packet's number and content. Raises `SSHException` for one that is not the peer's, EOFError,
        `NeedRekeyException`."""
        key = self._opening
        if key is None:
            return super().read_message()
        self._await(_LENGTH, check_rekey=True)
        length: int = _ABOUT_LENGTH.unpack_from(self._bytes, self._at)[0]
        if length % _BLOCK or not _BLOCK <= length <= _LARGEST:
            raise SSHException("Invalid packet length")
        size = _LENGTH + length + _TAG
        self._await(size)
        start, self._at = self._at, self._at + size
        body = start + _LENGTH
        try:
            plain = key.aead.decrypt(key.nonce(size), self._view[body : start + size], self._view[start:body])
        except InvalidTag:
            raise SSHException("Mismatched MAC") from None
        end = length - plain[0]
        if plain[0] < _LEAST_PADDING or end < 2:
            raise SSHException("Invalid padding")
        message = Message(plain[2:end])
        message.seqno = key.packets - 1
        self._count(key, size)
        return plain[1], message

    def _count(self, key: _Key, size: int) -> None:
        """Ask for new keys in time; a peer that does not give them is left."""
        if self.need_rekey():
            key.overflow += size
            if key.overflow >= self.REKEY_BYTES_OVERFLOW_MAX:
                raise SSHException("Remote transport is ignoring rekey requests")
        elif key.packets >= self.REKEY_PACKETS or key.bytes >= self.REKEY_BYTES:
            self._trigger_rekey()  # type: ignore[attr-defined]

    def readline(self, timeout: float) -> str:
        """A line of the peer's greeting, without its end. Raises TimeoutError, EOFError."""
        until = time.monotonic() + timeout
        while (end := self._bytes.find(b"\n", self._at, self._end)) < 0:
            if self._end - self._at > _LARGEST:
                raise SSHException("the peer's greeting has no end")
            if not self._receive() and time.monotonic() >= until:
                raise TimeoutError
        line = bytes(self._view[self._at : end])
        self._at = end + 1
        return line.removesuffix(b"\r").decode("utf-8", "replace")

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """``n`` bytes. Raises EOFError, `NeedRekeyException`."""
        self._await(n, check_rekey=check_rekey)
        self._at += n
        return bytes(self._view[self._at - n : self._at])

    def _await(self, count: int, *, check_rekey: bool = False) -> None:
        """Return when so many bytes are there to be looked at."""
        while self._end - self._at < count:
            if self.handshake_timed_out():
                raise EOFError
            if not self._receive():
                if check_rekey and self._at == self._end and self.need_rekey():
                    raise NeedRekeyException
                self._check_keepalive()  # type: ignore[attr-defined]

    def _receive(self) -> bool:
        """Receive what has come; False where nothing has for as long as the socket waits."""
        if self._at == self._end:
            self._at = self._end = 0
        elif self._at >= _LARGEST:
            left = self._end - self._at
            self._view[:left] = self._view[self._at : self._end]
            self._at, self._end = 0, left
        try:
            got = self._into(self._view[self._end :])
        except TimeoutError:
            got = -1
        except OSError as error:
            if error.errno != errno.EAGAIN and not self.closed:
                raise
            got = -1
        if got == 0 or (got < 0 and self.closed):
            raise EOFError
        self._end += max(got, 0)
        return got > 0

    def _into(self, room: memoryview) -> int:
        if isinstance(self._sock, socket.socket):
            return self._sock.recv_into(room)
        data = self._sock.recv(len(room))
        room[: len(data)] = data
        return len(data)


def _seal(key: _Key, head: bytes, body: memoryview) -> tuple[bytes, bytes]:
    """A packet: its length, which is not secret, and the rest of it with its tag (RFC 5647 section 7.2)."""
    payload = len(head) + len(body)
    padding = _BLOCK - (1 + payload) % _BLOCK
    if padding < _LEAST_PADDING:
        padding += _BLOCK
    length = _ABOUT_LENGTH.pack(1 + payload + padding)
    plain = b"".join((padding.to_bytes(), head, body, os.urandom(padding)))
    return length, key.aead.encrypt(key.nonce(_LENGTH + len(plain) + _TAG), plain, length)
