"""Getting to a host over SSH, against real servers: keys, configuration, jumps, and what goes wrong on the way."""

from __future__ import annotations

import io
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.transport.sshd import Sshd, free_port, make_key
from ultraplan.transport.base import AuthenticationFailed, ConnectionLost, HostKeyMismatch, TransportError, Unreachable
from ultraplan.transport.ssh import SSHConnection
from ultraplan.transport.target import Target, connector

Start = Callable[..., Sshd]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts one more sshd."""
    servers: list[Sshd] = []

    def start(*host_keys: str, extra: str = "") -> Sshd:
        servers.append(Sshd(tmp_path / f"sshd{len(servers)}", host_keys=host_keys or ("ed25519",), extra=extra))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(start: Start) -> Sshd:
    return start()


def answers(connection: SSHConnection) -> bool:
    try:
        return connection.shell().run("echo fine").stdout == b"fine\n"
    finally:
        connection.close()


def refused(connection: SSHConnection, kind: type[TransportError]) -> TransportError:
    with pytest.raises(kind) as caught:
        connection.shell().run("echo no")
    connection.close()
    assert caught.value.host == "box"
    return caught.value


# -- host keys


def fingerprint(key: Path) -> str:
    return subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout.split()[1]


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_what_to_do(sshd: Sshd) -> None:
    sshd.known_hosts.write_text("")
    error = refused(SSHConnection(sshd.target()), HostKeyMismatch)
    assert "unknown" in str(error) and fingerprint(sshd.host_keys[0]) in str(error)
    command = (error.hint or "").rpartition("then: ")[2]
    assert command == f"ssh-keyscan -p {sshd.port} 127.0.0.1 >> {sshd.known_hosts}"
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert answers(SSHConnection(sshd.target()))


def test_a_changed_host_key_is_refused_strict_or_not(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    sshd.known_hosts.write_text(f"{sshd.name} {sshd.public(other)}\n")
    for strict in (True, False):
        error = refused(SSHConnection(sshd.target(), strict=strict), HostKeyMismatch)
        assert "CHANGED" in str(error)
        assert fingerprint(sshd.host_keys[0]) in str(error) and fingerprint(other) in str(error)
        assert f"ssh-keygen -f {sshd.known_hosts} -R {shlex.quote(sshd.name)}" in (error.hint or "")


def test_nothing_is_sent_to_a_host_with_the_wrong_key(sshd: Sshd) -> None:
    sshd.known_hosts.write_text("")
    refused(SSHConnection(sshd.target()), HostKeyMismatch)
    assert "Accepted" not in (sshd.folder / "log").read_text()


def test_a_hashed_known_hosts_file_is_understood(sshd: Sshd) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", sshd.known_hosts], check=True, capture_output=True)
    assert "|1|" in sshd.known_hosts.read_text()
    assert answers(SSHConnection(sshd.target()))


def test_a_host_key_alias_is_the_name_that_is_looked_for(sshd: Sshd) -> None:
    sshd.known_hosts.write_text(f"the-alias {sshd.public(sshd.host_keys[0])}\n")
    args = f"-F /dev/null -o HostKeyAlias=the-alias -o UserKnownHostsFile={sshd.known_hosts}"
    assert answers(SSHConnection(sshd.target(ansible_ssh_common_args=args)))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_of_several_host_keys_the_one_on_record_is_asked_for(start: Start, kind: str) -> None:
    sshd = start("ed25519", "ecdsa", "rsa")
    key = next(key for key in sshd.host_keys if key.name.endswith(kind))
    sshd.known_hosts.write_text(f"{sshd.name} {sshd.public(key)}\n")
    assert answers(SSHConnection(sshd.target()))


def test_not_strict_records_the_key_that_it_meets(sshd: Sshd) -> None:
    known = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    args = f"-F /dev/null -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={sshd.known_hosts}"
    assert answers(SSHConnection(sshd.target(ansible_ssh_common_args=args)))
    assert sshd.known_hosts.read_text() == known


# -- logging in


def test_a_key_that_the_host_does_not_know_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "stranger")
    error = refused(SSHConnection(sshd.target(ansible_ssh_private_key_file=str(key))), AuthenticationFailed)
    assert f"root@127.0.0.1:{sshd.port}" in str(error)


def test_a_key_file_that_is_not_there_is_named(sshd: Sshd) -> None:
    error = refused(SSHConnection(sshd.target(ansible_ssh_private_key_file="/no/such/key")), AuthenticationFailed)
    assert "/no/such/key" in str(error)


def test_an_encrypted_key_asks_for_the_agent_and_the_agent_helps(
        sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = make_key(tmp_path / "locked", passphrase="open sesame")
    (sshd.folder / "authorized_keys").write_text(f"{sshd.public(key)}\n")
    args = f"-F /dev/null -o UserKnownHostsFile={sshd.known_hosts}"
    target = sshd.target(ansible_ssh_private_key_file=str(key), ansible_ssh_common_args=args)
    assert "ssh-agent" in (refused(SSHConnection(target), AuthenticationFailed).hint or "")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "agent").exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        (tmp_path / "ask").write_text("#!/bin/sh\necho 'open sesame'\n")
        (tmp_path / "ask").chmod(0o700)
        environment = {**os.environ, "SSH_ASKPASS": str(tmp_path / "ask"), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", "-q", key], env=environment, check=True, capture_output=True)
        assert answers(SSHConnection(target))
    finally:
        agent.kill()
        agent.wait()


def test_an_account_without_a_shell_says_what_it_said(start: Start) -> None:
    sshd = start(extra="ForceCommand echo go away; exit 7")
    error = refused(SSHConnection(sshd.target()), Unreachable)
    assert "go away" in str(error) and "exit 7" in str(error)


def test_what_a_login_prints_is_not_taken_for_an_answer(start: Start) -> None:
    sshd = start(extra="ForceCommand echo welcome; echo warning >&2; eval \"$SSH_ORIGINAL_COMMAND\"")
    connection = SSHConnection(sshd.target())
    assert connection.shell().run("echo fine; echo err >&2").stdout == b"fine\n"
    connection.close()


# -- not getting there


def nowhere() -> Target:
    variables = {"ansible_host": "127.0.0.1", "ansible_port": free_port(), "ansible_ssh_args": "-F /dev/null"}
    return Target.of("box", variables)


def test_a_refused_connection_says_so() -> None:
    assert "refuses the connection" in str(refused(SSHConnection(nowhere()), Unreachable))


def test_a_name_that_does_not_exist_says_so() -> None:
    target = Target.of("box", {"ansible_host": "no-such-host.invalid", "ansible_ssh_args": "-F /dev/null"})
    assert "cannot be resolved" in str(refused(SSHConnection(target), Unreachable))


def test_a_port_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = Target.of("box", {"ansible_host": "127.0.0.1", "ansible_port": server.getsockname()[1],
                                   "ansible_ssh_args": "-F /dev/null -o ConnectTimeout=1"})
        started = time.monotonic()
        refused(SSHConnection(target), Unreachable)
        assert time.monotonic() - started < 5


def test_a_port_that_is_no_ssh_server_says_so() -> None:
    def answer() -> None:
        client, _ = server.accept()
        with client:
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        target = Target.of("box", {"ansible_host": "127.0.0.1", "ansible_port": server.getsockname()[1],
                                   "ansible_ssh_args": "-F /dev/null -o ConnectTimeout=2"})
        refused(SSHConnection(target), Unreachable)


def test_too_many_channels_name_the_setting(start: Start) -> None:
    sshd = start(extra="MaxSessions 1")
    connection = SSHConnection(sshd.target())
    connection.shell().run(":")
    with pytest.raises(Unreachable) as caught:
        connection.side("echo no")
    assert "MaxSessions" in (caught.value.hint or "")
    connection.close()


def test_no_error_prints_a_traceback(sshd: Sshd, capfd: pytest.CaptureFixture[str]) -> None:
    sshd.known_hosts.write_text("")
    refused(SSHConnection(sshd.target()), HostKeyMismatch)
    refused(SSHConnection(nowhere()), Unreachable)
    time.sleep(0.2)
    assert capfd.readouterr().err == ""


# -- losing it


def test_a_server_that_dies_is_a_lost_connection_and_the_next_use_connects_again(sshd: Sshd) -> None:
    connection = SSHConnection(sshd.target())
    shell = connection.shell()
    shell.run(":")
    threading.Timer(0.2, sshd.signal_connections, (signal.SIGKILL,)).start()
    with pytest.raises(ConnectionLost):
        shell.run("sleep 5")
    assert shell.run("echo fine").stdout == b"fine\n"
    sshd.signal_connections(signal.SIGKILL)
    time.sleep(0.3)
    assert shell.run("echo fine").stdout == b"fine\n", "nothing was out: the loss needs no mention"
    connection.close()


def test_a_silent_peer_is_noticed(sshd: Sshd) -> None:
    args = (f"-F /dev/null -o UserKnownHostsFile={sshd.known_hosts} "
            "-o ServerAliveInterval=1 -o ServerAliveCountMax=1")
    connection = SSHConnection(sshd.target(ansible_ssh_common_args=args))
    shell = connection.shell()
    shell.run(":")
    sshd.signal_connections(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            shell.run("sleep 60")
        assert time.monotonic() - started < 6
    finally:
        sshd.signal_connections(signal.SIGCONT)
    assert shell.run("echo fine").stdout == b"fine\n"
    connection.close()


@pytest.mark.parametrize("victim", ["server", "client"])
def test_an_upload_cut_halfway_leaves_nothing_at_the_path(sshd: Sshd, tmp_path: Path, victim: str) -> None:
    connection = SSHConnection(sshd.target())
    source, folder = tmp_path / "source", tmp_path / "folder"
    folder.mkdir()
    with source.open("wb") as file:
        file.truncate(60_000_000)

    def cut(done: int, _: int | None) -> None:
        if done > 20_000_000:
            if victim == "client":
                raise KeyboardInterrupt
            sshd.signal_connections(signal.SIGKILL)

    with pytest.raises((ConnectionLost, KeyboardInterrupt)):
        connection.upload(source, str(folder / "file"), progress=cut)
    until = time.monotonic() + 5
    while list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert list(folder.iterdir()) == []
    connection.close()


def test_a_download_cut_halfway_is_an_error(sshd: Sshd, tmp_path: Path) -> None:
    connection = SSHConnection(sshd.target())
    (tmp_path / "file").write_bytes(bytes(60_000_000))

    def cut(done: int, _: int | None) -> None:
        if done > 20_000_000:
            sshd.signal_connections(signal.SIGKILL)

    with pytest.raises(ConnectionLost):
        connection.download(str(tmp_path / "file"), io.BytesIO(), progress=cut)
    connection.close()


# -- ssh_config


def config(tmp_path: Path, text: str) -> Path:
    (tmp_path / "config").write_text(text)
    return tmp_path / "config"


def test_a_host_alias_in_ssh_config_is_all_that_is_needed(sshd: Sshd, tmp_path: Path) -> None:
    file = config(tmp_path, f"""
        Host box
            HostName 127.0.0.1
            Port {sshd.port}
            User root
            IdentityFile {sshd.key}
            IdentitiesOnly yes
            UserKnownHostsFile {sshd.known_hosts}
        """)
    assert answers(SSHConnection(Target.of("box", {}), ssh_config=file))


def test_the_inventory_goes_before_ssh_config_and_includes_are_read(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "extra.d").mkdir()
    (tmp_path / "extra.d" / "a.conf").write_text("Host b*\n  HostName 127.0.0.1\nHost other\n  Port 1\n")
    file = config(tmp_path, f"""
        UserKnownHostsFile {sshd.known_hosts}
        Host box
            Include extra.d/*.conf
            IdentityFile {sshd.key}
            Port 1
            User nobody
        """)
    variables = {"ansible_port": sshd.port, "ansible_user": "root"}
    assert answers(SSHConnection(Target.of("box", variables), ssh_config=file))


def jump_config(tmp_path: Path, *servers: Sshd, jump: str) -> Path:
    hosts = "".join(f"Host hop{n}\n HostName 127.0.0.1\n Port {s.port}\n User root\n IdentityFile {s.key}\n"
                    for n, s in enumerate(servers))
    known = tmp_path / "known_hosts"
    known.write_text("".join(server.known_hosts.read_text() for server in servers))
    last = len(servers) - 1
    return config(tmp_path, f"UserKnownHostsFile {known}\nIdentitiesOnly yes\n{hosts}Host hop{last}\n {jump}\n")


def test_two_jump_hosts_are_visited_in_the_order_they_are_named(start: Start, tmp_path: Path) -> None:
    last, closed = start(), free_port()
    second = start(extra=f"PermitOpen 127.0.0.1:{last.port}")
    first = start(extra=f"PermitOpen 127.0.0.1:{second.port}")
    target = Target.of("box", {"ansible_host": "hop2"})
    file = jump_config(tmp_path, first, second, last, jump="ProxyJump hop0,hop1")
    assert answers(SSHConnection(target, ssh_config=file))
    file = jump_config(tmp_path, first, second, last, jump="ProxyJump hop1,hop0")
    assert "jump host" in str(refused(SSHConnection(target, ssh_config=file), Unreachable))
    variables = {"ansible_host": "127.0.0.1", "ansible_port": closed, "ansible_ssh_common_args": "-J hop0"}
    assert "cannot reach" in str(refused(SSHConnection(Target.of("box", variables), ssh_config=file), Unreachable))


def test_a_jump_host_of_a_jump_host_is_visited_first(start: Start, tmp_path: Path) -> None:
    last = start()
    second = start(extra=f"PermitOpen 127.0.0.1:{last.port}")
    first = start(extra=f"PermitOpen 127.0.0.1:{second.port}")
    file = jump_config(tmp_path, first, second, last, jump="ProxyJump hop1\nHost hop1\n ProxyJump hop0")
    assert answers(SSHConnection(Target.of("box", {"ansible_host": "hop2"}), ssh_config=file))


def test_jumps_in_circles_end(start: Start, tmp_path: Path) -> None:
    file = config(tmp_path, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    target = Target.of("box", {"ansible_host": "a"})
    assert "circles" in str(refused(SSHConnection(target, ssh_config=file), Unreachable))


def test_a_jump_hosts_key_is_checked_too(start: Start, tmp_path: Path) -> None:
    last, first = start(), start()
    file = jump_config(tmp_path, first, last, jump="ProxyJump hop0")
    known = (tmp_path / "known_hosts").read_text().splitlines(keepends=True)
    (tmp_path / "known_hosts").write_text("".join(line for line in known if str(first.port) not in line))
    error = refused(SSHConnection(Target.of("box", {"ansible_host": "hop1"}), ssh_config=file), HostKeyMismatch)
    assert str(first.port) in str(error)


RELAY = """\
import os, socket, sys, threading
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def forth():
    while data := os.read(0, 65536): peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=forth, daemon=True).start()
while data := peer.recv(65536): os.write(1, data)
"""


def test_a_proxy_command_carries_the_connection(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    args = (f"-F /dev/null -o IdentitiesOnly=yes -o UserKnownHostsFile={sshd.known_hosts} "
            f"-o 'ProxyCommand=/usr/bin/env python3 {tmp_path}/relay.py %h %p'")
    assert answers(SSHConnection(sshd.target(ansible_ssh_common_args=args)))


def test_a_proxy_command_that_fails_is_noticed_at_once(sshd: Sshd) -> None:
    args = "-F /dev/null -o 'ProxyCommand=false %h'"
    started = time.monotonic()
    error = refused(SSHConnection(sshd.target(ansible_ssh_common_args=args)), Unreachable)
    assert "false 127.0.0.1" in (error.hint or "") and time.monotonic() - started < 5


# -- the rest


def test_small_packets_are_sent_at_once_with_a_fast_cipher(sshd: Sshd) -> None:
    connection = SSHConnection(sshd.target())
    connection.shell().run(":")
    transport = connection._transport()
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert transport.local_cipher == "aes128-gcm@openssh.com"
    connection.close()


def test_many_hosts_connect_in_parallel(start: Start) -> None:
    servers = [start() for _ in range(4)]
    connect = connector({str(n): server.target(str(n)) for n, server in enumerate(servers)})
    answered: list[bytes] = []
    threads = [threading.Thread(target=lambda n=n: answered.append(connect(str(n)).shell().run(f"echo {n}").stdout))
               for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answered) == [b"0\n", b"1\n", b"2\n", b"3\n"]
    for n in range(4):
        connect(str(n)).close()


def test_one_connection_carries_all_channels(sshd: Sshd) -> None:
    connection = SSHConnection(sshd.target())
    threads = [threading.Thread(target=connection.side, args=("sleep 0.2",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sshd.children()) == 1
    connection.close()


def test_closing_leaves_no_threads_and_no_descriptors(sshd: Sshd) -> None:
    def cycle() -> None:
        connection = SSHConnection(sshd.target())
        connection.shell().run(":")
        connection.side(":")
        connection.close()

    def settled() -> tuple[int, int]:
        time.sleep(0.5)
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    cycle()
    before = settled()
    for _ in range(5):
        cycle()
    after = settled()
    assert after[0] <= before[0] and after[1] <= before[1] + 1
