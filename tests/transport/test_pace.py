"""A file takes no more of a link than the inventory allows: it is not faster (how much slower it is, is not tested)."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.transport.sshd import Sshd
from ultraplan.transport import transfer
from ultraplan.transport.base import TransferFailed
from ultraplan.transport.ssh import SSHConnection

CONTENT = bytes(range(256)) * 4000
SECONDS = 0.7
RATE = int(len(CONTENT) / SECONDS)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd")
    yield server
    server.stop()


@pytest.fixture
def connection(sshd: Sshd) -> Iterator[SSHConnection]:
    with closing(SSHConnection(sshd.target(ultraplan_bandwidth=RATE))) as connection:
        connection.shell().run(":")
        yield connection


@pytest.mark.parametrize("large", [False, True])
def test_a_file_is_held_to_the_bandwidth_both_ways(connection: SSHConnection, tmp_path: Path, large: bool,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LARGE", 1000 if large else 2 * len(CONTENT))
    began = time.monotonic()
    connection.upload(CONTENT, str(tmp_path / "there"))
    assert time.monotonic() - began > SECONDS * 0.95
    assert (tmp_path / "there").read_bytes() == CONTENT
    began, sink = time.monotonic(), io.BytesIO()
    connection.download(str(tmp_path / "there"), sink)
    assert time.monotonic() - began > SECONDS * 0.95
    assert sink.getvalue() == CONTENT


def test_what_a_limited_transfer_cannot_do_it_says_all_the_same(connection: SSHConnection, tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="no such directory"):
        connection.upload(CONTENT, str(tmp_path / "missing" / "file"))
    with pytest.raises(TransferFailed, match="no such file"):
        connection.download(str(tmp_path / "missing"), io.BytesIO())
