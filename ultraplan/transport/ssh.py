"""A host over SSH: one connection, a channel for each shell and each transfer."""

from __future__ import annotations

import contextlib
import getpass
import logging
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import fabric
import paramiko

from ultraplan.transport.base import (
    AuthenticationFailed,
    ConnectionLost,
    TransportError,
    Unreachable,
)
from ultraplan.transport.become import Become
from ultraplan.transport.channel import WINDOW, ChannelWire, Heartbeat, Transport, prompt
from ultraplan.transport.connection import WiredConnection
from ultraplan.transport.hostkeys import names_of
from ultraplan.transport.openssh import OpenSSH
from ultraplan.transport.sshconfig import known_hosts as known_hosts_of
from ultraplan.transport.sshconfig import settings
from ultraplan.transport.target import Target
from ultraplan.transport.wire import Wire

CONNECT_TIMEOUT = 10.0
CHANNEL_TIMEOUT = 30.0
ALIVE_INTERVAL, ALIVE_COUNT = 5.0, 3  # a silent peer is given up after 15 to 20 s
_JUMPS = 8
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")

# What goes wrong is raised; without a handler paramiko's log would write tracebacks to stderr as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SSHConnection(WiredConnection):
    """``ansible_connection: ssh``. Raises `TransportError` for an ssh_config that cannot be read."""

    def __init__(self, target: Target, become: Become | None = None, *, reveal: Callable[[str], str] = str,
                 ssh_config: Path | None = None, known_hosts: Path | None = None, strict: bool = True) -> None:
        self._target, self._reveal = target, reveal
        self._config = settings(target, ssh_config)
        self._known_hosts, self._strict = known_hosts, strict
        user = self._lookup(target.address).get("user") or getpass.getuser()
        super().__init__(target.name, user, target.shell_path, become or Become(), target.bandwidth)
        self._opening = threading.Lock()
        self._links: list[_Link] = []
        self._heartbeat: Heartbeat | None = None
        self._openssh: OpenSSH | Literal[False] | None = None  # None: not tried yet

    def _spawn(self, command: str) -> ChannelWire:
        transport = self._transport()
        try:
            channel = transport.open_session(window_size=WINDOW, timeout=CHANNEL_TIMEOUT)
            wire = ChannelWire(channel)
            channel.exec_command(command.encode("utf-8", "surrogateescape"))
        except paramiko.ChannelException as error:
            raise Unreachable(self.host, f"the host refuses another channel: {error.text}",
                              "raise MaxSessions in its sshd_config") from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(self.host, f"the connection broke: {_text(error)}") from None
        return wire

    def _large_apart(self) -> bool:
        self._transport()
        with self._opening:
            if self._openssh is None:
                self._openssh = self._links[-1].openssh(direct=len(self._links) == 1) or False
            return self._openssh is not False

    def _spawn_large(self, command: str) -> Wire:
        if not self._large_apart() or not self._openssh:
            return self._spawn(command)
        try:
            return self._openssh.wire(command)
        except OSError:  # no more processes, no more pipes: the slow way needs neither
            return self._spawn(command)

    def close(self) -> None:
        """See `Connection.close`."""
        super().close()
        with self._opening:
            self._drop()
            if self._openssh:
                self._openssh.close()
            self._openssh = None

    # -- below: getting there

    def _transport(self) -> Transport:
        with self._opening:
            if not self._links or not self._links[-1].transport.is_active():
                self._drop()
                try:
                    self._open()
                except BaseException:
                    self._drop()
                    raise
            return self._links[-1].transport

    def _drop(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
        links, self._links, self._heartbeat = self._links, [], None
        for link in reversed(links):
            link.close()

    def _open(self) -> None:
        previous: _Link | None = None
        for address in (*self._jumps(self._target.address), self._target.address):
            link = _Link(self, address, previous)
            self._links.append(link)
            link.open()
            previous = link
        found = self._lookup(self._target.address)
        interval = _number(self.host, found, "serveraliveinterval", ALIVE_INTERVAL)
        count = _number(self.host, found, "serveralivecountmax", ALIVE_COUNT)
        if interval > 0:
            self._heartbeat = Heartbeat(self._links[-1].transport, interval, interval * max(count, 1))

    def _jumps(self, address: str, seen: int = 0) -> list[str]:
        """The jump hosts before ``address``, the first to be visited first (fabric takes a list in the wrong order)."""
        jumps = self._lookup(address).get("proxyjump", "none")
        if jumps.lower() == "none":
            return []
        if seen >= _JUMPS:
            raise Unreachable(self.host, f"ProxyJump goes round in circles at {address}")
        hops = [hop.strip().removeprefix("ssh://") for hop in jumps.split(",")]
        return [*self._jumps(_split(hops[0])[1], seen + 1), *hops]

    def _lookup(self, address: str) -> paramiko.SSHConfigDict:
        return self._config.lookup(address)


class _Link:
    """One SSH connection of the way: a jump host's, or the target's."""

    def __init__(self, owner: SSHConnection, hop: str, gateway: _Link | None) -> None:
        self.host = owner.host
        self.is_target = hop == owner._target.address
        user, address, port = (None, hop, None) if self.is_target else _split(hop)
        found = owner._lookup(address)
        self.connection: Any = fabric.Connection(
            address, user=user, port=port, config=fabric.Config(ssh_config=owner._config, lazy=True),
            gateway=gateway.connection if gateway else False, connect_kwargs={})
        self._timeout = _number(self.host, found, "connecttimeout", CONNECT_TIMEOUT)
        self._proxy_command = None if gateway else found.get("proxycommand")
        self._proxy: subprocess.Popen[bytes] | None = None
        self._names = names_of(self.connection.host, self.connection.port, found.get("hostkeyalias"))
        self._known = known_hosts_of(found, owner._known_hosts, owner._strict)
        self.connection.client.set_missing_host_key_policy(_Check(self._check))
        self.connection.connect_timeout = self._timeout
        self.connection.connect_kwargs = {
            "banner_timeout": self._timeout, "auth_timeout": max(self._timeout, 30.0),
            "channel_timeout": CHANNEL_TIMEOUT, "transport_factory": self._new_transport,
            **self._credentials(owner, found),
        }

    @property
    def where(self) -> str:
        """``user@address:port`` for messages."""
        return f"{self.connection.user}@{self.connection.host}:{self.connection.port}"

    @property
    def transport(self) -> Transport:
        """The open connection's transport."""
        transport: Transport = self.connection.transport
        return transport

    def open(self) -> None:
        """Connect, check the host key, log in. Raises `Unreachable` and its kinds."""
        jump = "" if self.is_target else f"jump host {self.where}: "
        try:
            if not self.connection.gateway:
                self.connection.connect_kwargs["sock"] = self._socket()
            self.connection.open()
        except TransportError:
            raise
        except paramiko.ssh_exception.PasswordRequiredException as error:
            raise AuthenticationFailed(self.host, f"{jump}{_text(error)}", "load the key into ssh-agent") from None
        except paramiko.AuthenticationException as error:
            raise AuthenticationFailed(
                self.host, f"{jump}{self.where} does not accept our login: {_text(error)}",
                f"try: ssh -v -p {self.connection.port} {self.connection.user}@{self.connection.host}") from None
        except paramiko.ChannelException as error:
            raise Unreachable(self.host, f"the jump host cannot reach {self.where}: {error.text}") from None
        except paramiko.SSHException as error:
            if "No authentication methods" in str(error):
                raise AuthenticationFailed(
                    self.host, f"{jump}there is no key or password for {self.where}",
                    "set ansible_ssh_private_key_file, or load a key into ssh-agent") from None
            raise Unreachable(self.host, f"{jump}{self.where}: {_text(error)}", self._proxy_hint()) from None
        except (OSError, EOFError) as error:
            raise _no_connection(self, jump, error) from None

    def openssh(self, *, direct: bool) -> OpenSSH | None:
        """The system's own client to the same host, where it can get there as we did."""
        kwargs = self.connection.connect_kwargs
        if not direct or self._proxy is not None or "password" in kwargs:
            return None
        way = OpenSSH(self.connection.host, self.connection.port, self.connection.user,
                      self.transport.get_remote_server_key(), kwargs["key_filename"] or [],
                      agent=bool(kwargs["allow_agent"]), timeout=self._timeout)
        if way.usable():
            return way
        way.close()
        return None

    def close(self) -> None:
        """Close it. A ProxyCommand is ended with it."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self.connection.client.close()
        if self._proxy is not None:
            self._proxy.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._proxy.wait(1.0)

    def _socket(self) -> socket.socket:
        if not self._proxy_command or self._proxy_command.lower() == "none":
            return socket.create_connection((self.connection.host, self.connection.port), self._timeout)
        # paramiko's own ProxyCommand never notices that the command has ended.
        ours, theirs = socket.socketpair()
        with theirs:
            self._proxy = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {self._proxy_command}"], stdin=theirs.fileno(), stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL, start_new_session=True)
        return ours

    def _proxy_hint(self) -> str | None:
        return f"run its ProxyCommand by hand: {self._proxy_command}" if self._proxy else None

    def _credentials(self, owner: SSHConnection, found: paramiko.SSHConfigDict) -> dict[str, Any]:
        files = [Path(file) for file in found.get("identityfile", [])]
        for name, file in owner._target.options if self.is_target else ():
            if name == "IdentityFile" and not Path(file).expanduser().is_file():
                raise AuthenticationFailed(self.host, f"the key file {file} does not exist")
        keys = [str(file) for file in files if file.is_file()]  # ssh passes over those that are not there, too
        credentials: dict[str, Any] = {
            "key_filename": keys or None, "look_for_keys": not files,
            "allow_agent": found.get("identitiesonly", "no").lower() != "yes",
        }
        if self.is_target and owner._target.password:
            credentials["password"] = owner._reveal(owner._target.password)
        return credentials

    def _new_transport(self, sock: Any, disabled_algorithms: Any = None) -> Transport:
        prompt(sock)
        transport = Transport(sock, disabled_algorithms=disabled_algorithms)
        options = transport.get_security_options()
        options.ciphers = [c for c in _CIPHERS if c in options.ciphers]
        # Ask for a kind of key that is on record, or a host with several would look unknown.
        recorded = {entry.key_type for entry in self._known.entries(self._names)}
        options.key_types = sorted(options.key_types, key=lambda kind: _key_type(kind) not in recorded)
        return transport

    def _check(self, key: paramiko.PKey) -> None:
        self._known.check(self.host, self.connection.host, self._names, self.connection.port, key.get_name(),
                          key.asbytes())


class _Check(paramiko.MissingHostKeyPolicy):
    """paramiko is given no known_hosts of its own, so every key comes here."""

    def __init__(self, check: Callable[[paramiko.PKey], None]) -> None:
        self._check = check

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self._check(key)


def _key_type(algorithm: str) -> str:
    """The name in known_hosts of the keys that sign with ``algorithm`` (RFC 8332 section 3)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _split(hop: str) -> tuple[str | None, str, int | None]:
    """``[user@]host[:port]``; an IPv6 address with a port stands in brackets."""
    user, _, rest = hop.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if colon and port.isdecimal() and (host.startswith("[") or ":" not in host):
        return user or None, host.strip("[]"), int(port)
    return user or None, rest.strip("[]"), None


def _number(host: str, found: paramiko.SSHConfigDict, name: str, default: float) -> float:
    text = found.get(name, "")
    if text.lower() in ("", "none"):
        return default
    try:
        return float(text)
    except ValueError:
        raise Unreachable(host, f"ssh_config: {name} {text!r} is no number of seconds") from None


def _no_connection(link: _Link, jump: str, error: OSError | EOFError) -> Unreachable:
    connection = link.connection
    if isinstance(error, socket.gaierror):
        return Unreachable(link.host, f"{jump}the name {connection.host!r} cannot be resolved: {error.strerror}",
                           "set ansible_host, or HostName in ssh_config")
    if isinstance(error, TimeoutError):
        return Unreachable(link.host, f"{jump}no answer from {link.where} within {link._timeout:g} s",
                           "is the host up, and does a firewall let us through? ConnectTimeout sets how long to wait")
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(link.host, f"{jump}{link.where} refuses the connection",
                           "is sshd running, and is it that port? ansible_port sets another")
    return Unreachable(link.host, f"{jump}{link.where}: {_text(error)}", link._proxy_hint())


def _text(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


