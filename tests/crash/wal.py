"""What a power cut in the middle of a write leaves of SQLite's write-ahead log: its last transaction, cut off.

The format: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER, FRAME = 32, 24


def tear(wal: Path, fraction: float) -> None:
    """Cut the log at ``fraction`` of its last transaction. Raises ValueError where there is none."""
    begin, end = last_transaction(wal.read_bytes())
    with wal.open("r+b") as file:
        file.truncate(begin + int((end - begin) * fraction))


def last_transaction(data: bytes) -> tuple[int, int]:
    """Where the last committed transaction begins and ends."""
    page, salt = struct.unpack(">I", data[8:12])[0], data[16:24]
    commits = [HEADER]
    at = HEADER
    while at + FRAME + page <= len(data):
        size, found = struct.unpack(">I", data[at + 4:at + 8])[0], data[at + 8:at + 16]
        if found != salt:
            break  # left over from before the log was begun anew
        at += FRAME + page
        if size:
            commits.append(at)
    if len(commits) < 2:
        raise ValueError("no transaction in the log")
    return commits[-2], commits[-1]
