"""Files over packets of our own making: real servers, other ciphers, new keys, jump hosts, and a wire that lies."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.transport.sshd import Sshd
from ultraplan.transport.base import ConnectionLost, HostKeyMismatch, TransferFailed
from ultraplan.transport.packets import Packets
from ultraplan.transport.ssh import SSHConnection
from ultraplan.transport.target import Target

SIZE = 12_345_678


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(4).randbytes(SIZE)


@contextlib.contextmanager
def server(folder: Path, extra: str = "") -> Iterator[Sshd]:
    sshd = Sshd(folder, extra=extra)
    try:
        yield sshd
    finally:
        sshd.stop()


def there_and_back(connection: SSHConnection, folder: Path, content: bytes) -> None:
    """Raises AssertionError where a byte differs."""
    connection.upload(content, str(folder / "there"))
    assert (folder / "there").read_bytes() == content
    with (folder / "back").open("wb") as sink:
        connection.download(str(folder / "there"), sink)
    assert (folder / "back").read_bytes() == content


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"])
def test_files_arrive_whole_with_every_cipher(tmp_path: Path, content: bytes, cipher: str) -> None:
    with server(tmp_path / "sshd", f"Ciphers {cipher}") as sshd, contextlib.closing(
            SSHConnection(sshd.target())) as connection:
        there_and_back(connection, tmp_path, content)
        assert connection._transport().local_cipher == cipher


@pytest.mark.parametrize("asks", ["client", "server", "both"])
@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes128-ctr"])
def test_keys_are_renewed_while_files_are_under_way(tmp_path: Path, content: bytes, asks: str, cipher: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[bool] = []
    switch = Packets.set_outbound_cipher

    def counted(*arguments: object, **more: object) -> None:
        renewed.append(True)
        switch(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Packets, "set_outbound_cipher", counted)
    if asks != "server":
        monkeypatch.setattr(Packets, "REKEY_BYTES", 2_000_000)
    limit = "" if asks == "client" else "RekeyLimit 2M"
    with server(tmp_path / "sshd", f"Ciphers {cipher}\n{limit}") as sshd, contextlib.closing(
            SSHConnection(sshd.target())) as connection:
        there_and_back(connection, tmp_path, content)
        assert connection.shell().run("echo fine").stdout == b"fine\n"
    assert len(renewed) > 6


def test_a_peer_that_gives_no_new_keys_is_left(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packets, "REKEY_BYTES", 1_000_000)
    monkeypatch.setattr(Packets, "REKEY_BYTES_OVERFLOW_MAX", 1)
    (tmp_path / "there").write_bytes(content)
    with server(tmp_path / "sshd") as sshd, contextlib.closing(SSHConnection(sshd.target())) as connection, \
            pytest.raises(ConnectionLost):
        connection.download(str(tmp_path / "there"), (tmp_path / "back").open("wb"))


def test_files_pass_a_jump_host(tmp_path: Path, content: bytes) -> None:
    with server(tmp_path / "first") as first, server(tmp_path / "last") as last:
        known = tmp_path / "known_hosts"
        known.write_text(first.known_hosts.read_text() + last.known_hosts.read_text())
        (tmp_path / "config").write_text(
            f"UserKnownHostsFile {known}\nIdentitiesOnly yes\nUser root\n"
            f"Host first\n HostName 127.0.0.1\n Port {first.port}\n IdentityFile {first.key}\n"
            f"Host last\n HostName 127.0.0.1\n Port {last.port}\n IdentityFile {last.key}\n ProxyJump first\n")
        target = Target.of("box", {"ansible_host": "last"})
        with contextlib.closing(SSHConnection(target, ssh_config=tmp_path / "config")) as connection:
            there_and_back(connection, tmp_path, content)
            assert len(first.children()) == len(last.children()) == 1, "over the connection that is there"


def test_several_files_and_programs_share_a_connection(tmp_path: Path, content: bytes) -> None:
    failed: list[BaseException] = []

    def carry(folder: Path, part: bytes) -> None:
        try:
            there_and_back(connection, folder, part)
        except BaseException as error:  # told by the test's own thread
            failed.append(error)

    with server(tmp_path / "sshd") as sshd, contextlib.closing(SSHConnection(sshd.target())) as connection:
        threads = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            threads.append(threading.Thread(target=carry, args=(folder, content[number:])))
        for thread in threads:
            thread.start()
        answers = 0
        while any(thread.is_alive() for thread in threads):
            assert connection.shell().run("echo fine", timeout=20).stdout == b"fine\n"
            answers += 1
        assert not failed and answers > 1
        assert len(sshd.children()) == 1


# -- what can go wrong


class Wire:
    """A relay to a port that can be told to change one byte: of what goes ``up`` or comes ``down``, after so many."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.lie: tuple[str, int] | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._port))
                for way, source, sink in (("up", client, server), ("down", server, client)):
                    threading.Thread(target=self._carry, args=(way, source, sink), daemon=True).start()

    def _carry(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if self.lie is not None and self.lie[0] == way and passed > self.lie[1]:
                    data, self.lie = bytes((data[0] ^ 1,)) + data[1:], None
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_byte_that_changes_on_the_way_ends_the_connection_and_leaves_nothing(
        tmp_path: Path, content: bytes, way: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "source").write_bytes(content)
    with server(tmp_path / "sshd") as sshd, contextlib.closing(Wire(sshd.port)) as wire:
        sshd.known_hosts.write_text(f"[127.0.0.1]:{wire.port} {sshd.public(sshd.host_keys[0])}\n")
        with contextlib.closing(SSHConnection(sshd.target(ansible_port=wire.port))) as connection:
            connection.shell().run(":")
            wire.lie = (way, 5_000_000)
            move: Callable[[], None] = {
                "up": lambda: connection.upload(content, str(folder / "file")),
                "down": lambda: connection.download(str(tmp_path / "source"), (tmp_path / "back").open("wb")),
            }[way]
            with pytest.raises(ConnectionLost):
                move()
            assert wire.lie is None
            until = time.monotonic() + 5
            while list(folder.iterdir()) and time.monotonic() < until:
                time.sleep(0.02)
            assert list(folder.iterdir()) == []
            assert connection.shell().run("echo fine").stdout == b"fine\n", "the next use connects again"


def test_a_server_with_another_key_gets_no_byte_of_a_file(tmp_path: Path, content: bytes) -> None:
    with server(tmp_path / "sshd") as sshd, server(tmp_path / "other") as other:
        sshd.known_hosts.write_text(f"{sshd.name} {other.public(other.host_keys[0])}\n")
        with contextlib.closing(SSHConnection(sshd.target())) as connection, pytest.raises(HostKeyMismatch):
            connection.upload(content, str(tmp_path / "file"))
        assert not list(tmp_path.glob("file*")) and "Accepted" not in (sshd.folder / "log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_fills_up_keeps_what_was_there_and_says_why(tmp_path: Path, content: bytes) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "disk", disk], check=True)
    try:
        (disk / "file").write_text("before")
        with server(tmp_path / "sshd") as sshd, contextlib.closing(SSHConnection(sshd.target())) as connection:
            with pytest.raises(TransferFailed, match="No space left"):
                connection.upload(content, str(disk / "file"))
            assert [p.name for p in disk.iterdir()] == ["file"]
            assert (disk / "file").read_text() == "before"
            assert connection.shell().run("echo fine").stdout == b"fine\n"
    finally:
        subprocess.run(["umount", disk], check=True)
