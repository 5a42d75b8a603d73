"""The hash chain that ties a run's records together, so that damage is found and never read as truth."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any

_FORMAT = b"ultraplan journal 1"


def digest(data: bytes) -> bytes:
    """The SHA-256 of ``data``."""
    return hashlib.sha256(data).digest()


def genesis(run: str, bundle: bytes) -> bytes:
    """The chain's start: binds the records to their run and to its bundle (given by its `digest`)."""
    return digest(b"\0".join((_FORMAT, run.encode(), bundle)))


def link(previous: bytes, seq: int, time: float, payload: bytes) -> bytes:
    """The hash of a record, from that of the record before it."""
    return digest(previous + struct.pack(">Qd", seq, time) + payload)


def seal(values: Iterable[Any]) -> bytes:
    """The hash of a row of simple values."""
    return digest(repr(tuple(values)).encode())
