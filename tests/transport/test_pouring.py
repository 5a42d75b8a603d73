"""Files between a process and this machine that the kernel moves, and what it will not move."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ultraplan.transport.base import TransferFailed
from ultraplan.transport.local import LocalConnection

CONTENT = random.Random(7).randbytes(3_456_789)


@pytest.fixture
def connection() -> Iterator[LocalConnection]:
    with closing(LocalConnection("here")) as connection:
        yield connection


@pytest.fixture(params=["spliced", "refused"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Some file systems cannot splice; the kernel says so with EINVAL."""
    def refuse(*arguments: object, **more: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    if request.param == "refused":
        monkeypatch.setattr(os, "splice", refuse)
    return str(request.param)


def test_a_file_goes_there_and_back_whatever_the_kernel_can(connection: LocalConnection, tmp_path: Path,
                                                            kernel: str) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    told: list[tuple[int, int | None]] = []
    connection.upload(tmp_path / "source", str(tmp_path / "there"), progress=lambda *now: told.append(now))
    assert (tmp_path / "there").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)
    told.clear()
    with (tmp_path / "back").open("wb") as sink:
        sink.write(b"before")
        connection.download(str(tmp_path / "there"), sink, progress=lambda *now: told.append(now))
        assert sink.tell() == len(b"before" + CONTENT)
        sink.write(b"after")
    assert (tmp_path / "back").read_bytes() == b"before" + CONTENT + b"after"
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)


def test_a_sink_that_appends_is_appended_to(connection: LocalConnection, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(CONTENT)
    (tmp_path / "back").write_bytes(b"before")
    with (tmp_path / "back").open("ab") as sink:
        connection.download(str(tmp_path / "there"), sink)
    assert (tmp_path / "back").read_bytes() == b"before" + CONTENT


@pytest.mark.parametrize("change", [-1000, 1000])
def test_a_source_that_changes_its_size_meanwhile_leaves_nothing(connection: LocalConnection, tmp_path: Path,
                                                                 change: int, kernel: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)

    def meddle(done: int, _: int | None) -> None:
        os.truncate(source, len(CONTENT) + change)

    with pytest.raises(TransferFailed, match=f"got {len(CONTENT) + change} of {len(CONTENT)} bytes"):
        connection.upload(source, str(tmp_path / "there"), progress=meddle)
    assert not list(tmp_path.glob("there*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_here_that_fills_up_is_an_error_of_this_side(connection: LocalConnection, tmp_path: Path,
                                                            kernel: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "there").write_bytes(CONTENT)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "disk", disk], check=True)
    try:
        with (disk / "back").open("wb", buffering=0) as raw, pytest.raises(OSError) as caught:
            connection.download(str(tmp_path / "there"), raw)  # type: ignore[arg-type]
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as caught, (disk / "again").open("wb") as sink:
            connection.download(str(tmp_path / "there"), sink)
        assert caught.value.errno == errno.ENOSPC
        assert connection.shell().run("echo fine").stdout == b"fine\n"
    finally:
        subprocess.run(["umount", disk], check=True)
