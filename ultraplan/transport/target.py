"""Where a host is and how to get there, from Ansible's connection variables; and connections made from that."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ultraplan.secrets import marker
from ultraplan.shell import Account
from ultraplan.transport.base import Connect, Connection, TransportError
from ultraplan.transport.become import METHODS, Become

_HONOURED = {
    name.lower(): name
    for name in (
        "ConnectTimeout", "GlobalKnownHostsFile", "HostKeyAlias", "HostName", "IdentitiesOnly", "IdentityFile", "Port",
        "ProxyCommand", "ProxyJump", "ServerAliveCountMax", "ServerAliveInterval", "StrictHostKeyChecking", "User",
        "UserKnownHostsFile",
    )
}
_WITHOUT_EFFECT = frozenset(
    # How OpenSSH shares connections, talks and asks: nothing of it changes who is reached or trusted.
    ("addkeystoagent", "batchmode", "checkhostip", "compression", "controlmaster", "controlpath", "controlpersist",
     "gssapiauthentication", "hashknownhosts", "kbdinteractiveauthentication", "loglevel", "passwordauthentication",
     "preferredauthentications", "pubkeyauthentication", "requesttty", "tcpkeepalive", "updatehostkeys",
     "visualhostkey")
)
_FLAGS_TO_OPTIONS = {"-J": "ProxyJump", "-p": "Port", "-l": "User", "-i": "IdentityFile"}
_VARIABLES_TO_OPTIONS = (
    ("Port", ("ansible_port", "ansible_ssh_port")),
    ("User", ("ansible_user", "ansible_ssh_user")),
    ("IdentityFile", ("ansible_ssh_private_key_file", "ansible_private_key_file")),
)
_SILENT_FLAGS = frozenset(("-q", "-C", "-T", "-n", "-x", "-a", "-4", "-6", "-v", "-vv", "-vvv"))
_UNSUPPORTED = ("ansible_become_exe", "ansible_become_flags", "ansible_ssh_executable")
_BANDWIDTH = re.compile(r"(\d+)((?:[kMG]?B)?)")  # as sizes in plans
_ADDRESS = re.compile(r"[\w.%][\w.%:-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """How one inventory host is reached. Passwords may be secret markers; they are resolved when they are asked for.

    ``options``: ssh_config options in order, the first of a name winning. ``config_file``: instead of the person's and
    the system's ssh_config. ``bandwidth``: bytes a second that a file may take on its way; None for no limit.
    """

    name: str
    local: bool = False
    address: str = ""
    options: tuple[tuple[str, str], ...] = ()
    config_file: str | None = None
    password: str | None = None
    become_always: bool = False
    become_as: Account = field(default_factory=Account)
    become_password: str | None = None
    shell_path: str = "/bin/sh"
    state_dir: str | None = None
    bandwidth: int | None = None

    @classmethod
    def of(cls, name: str, variables: Mapping[str, object]) -> Target:
        """The target of the inventory host ``name``. Raises `TransportError` naming a variable that cannot be used."""
        return _Reader(name, variables).target()

    def account(self, become: Account | bool | None = None) -> Account | None:
        """The account for a step that says ``become`` (None: it says nothing, so the inventory decides). The result is
        None for the account that logs in."""
        if isinstance(become, Account):
            return become
        wanted = self.become_always if become is None else become
        return self.become_as if wanted else None


class _Reader:
    def __init__(self, name: str, variables: Mapping[str, object]) -> None:
        self.name, self.variables = name, variables

    def target(self) -> Target:
        for variable in _UNSUPPORTED:
            if self.text(variable):
                raise self.error(variable, "is not supported")
        connection = self.text("ansible_connection") or "ssh"
        if connection not in ("ssh", "smart", "paramiko", "paramiko_ssh", "local"):
            raise self.error("ansible_connection", f"{connection!r} is not supported", "use ssh or local")
        local = connection == "local"
        address = self.text("ansible_host", "ansible_ssh_host") or self.name
        if not local and (not _ADDRESS.fullmatch(address) or address.count(":") == 1):
            raise self.error("ansible_host", f"{address!r} is no host name or address")
        options, config_file = ([], None) if local else self.ssh_options()
        return Target(
            self.name, local, address, tuple(options), config_file,
            password=self.text("ansible_password", "ansible_ssh_pass"),
            become_always=self.become_always(), become_as=self.become_as(),
            become_password=self.text("ansible_become_password", "ansible_become_pass"),
            shell_path=self.text("ansible_shell_executable") or "/bin/sh",
            state_dir=self.text("ultraplan_state_dir"), bandwidth=self.bandwidth())

    def bandwidth(self) -> int | None:
        text = self.text("ultraplan_bandwidth")
        if text is None:
            return None
        found = _BANDWIDTH.fullmatch(text)
        if found is None or not int(found[1]):
            raise self.error("ultraplan_bandwidth", f"{text!r} is no number of bytes a second",
                             "write it as 500kB or 10MB")
        return int(found[1]) * int(1000 ** ("kMG".find(found[2][:1] or "B") + 1))

    def become_as(self) -> Account:
        method = self.text("ansible_become_method") or "sudo"
        if method not in METHODS:
            raise self.error("ansible_become_method", f"{method!r} is not supported", f"use {', '.join(METHODS)}")
        return Account(self.text("ansible_become_user") or "root", method)

    def become_always(self) -> bool:
        become = (self.text("ansible_become") or "no").lower()
        if become not in ("yes", "true", "1", "on", "no", "false", "0", "off"):
            raise self.error("ansible_become", f"{become!r} is neither true nor false")
        return become in ("yes", "true", "1", "on")

    def ssh_options(self) -> tuple[list[tuple[str, str]], str | None]:
        """Arguments first, then variables: the order in which Ansible puts them on ssh's command line."""
        options: list[tuple[str, str]] = []
        config_file = None
        for variable in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
            try:
                words = shlex.split(self.text(variable) or "")
            except ValueError as problem:
                raise self.error(variable, str(problem)) from None
            while words:
                flag, value = _next(words)
                if flag == "-F" and value:
                    config_file = value
                elif flag == "-o" and value:
                    options += self.option(variable, value)
                elif flag in _FLAGS_TO_OPTIONS and value:
                    options.append((_FLAGS_TO_OPTIONS[flag], value))
                elif flag not in _SILENT_FLAGS:
                    raise self.error(variable, f"{flag} is not supported", "put it in an ssh_config file")
        for option, names in _VARIABLES_TO_OPTIONS:
            given = self.text(*names)
            if given:
                options.append((option, given))
        for option, value in options:
            if "\n" in value or "\r" in value:
                raise self.error(option, "holds a line break")
            if option == "Port" and not (value.isdecimal() and 0 < int(value) < 65536):
                raise self.error("ansible_port", f"{value!r} is no port")
        return options, config_file

    def option(self, variable: str, text: str) -> list[tuple[str, str]]:
        name, _, value = (part.strip() for part in text.replace("=", " ", 1).strip().partition(" "))
        if name.lower() in _WITHOUT_EFFECT:
            return []
        if name.lower() not in _HONOURED or not value:
            raise self.error(variable, f"-o {text} is not supported", f"supported: {', '.join(_HONOURED.values())}")
        return [(_HONOURED[name.lower()], value)]

    def text(self, *names: str) -> str | None:
        for name in names:
            value = self.variables.get(name)
            if isinstance(value, Mapping) and isinstance(value.get("secret"), str):
                return marker(value["secret"])
            if value is not None and value != "":
                return str(value)
        return None

    def error(self, what: str, problem: str, hint: str | None = None) -> TransportError:
        return TransportError(self.name, f"{what}: {problem}", hint)


def _next(words: list[str]) -> tuple[str, str]:
    """Take a flag and its value, whether they stand together or apart."""
    word = words.pop(0)
    if word in _SILENT_FLAGS or not word.startswith("-"):
        return word, ""
    if len(word) > 2:
        return word[:2], word[2:]
    return word, words.pop(0) if words else ""


def connector(targets: Mapping[str, Target], *, reveal: Callable[[str], str] = str, ssh_config: Path | None = None,
              known_hosts: Path | None = None, strict: bool = True) -> Connect:
    """The way from a host's name to its connection, one a host, made when it is first asked for.

    ``reveal`` gives the values of secret markers (`ultraplan.secrets.Secrets.reveal`); ``ssh_config`` and
    ``known_hosts`` stand in for the person's and the system's files. Without ``strict``, unknown host keys are accepted
    and recorded; a changed one never. Raises `TransportError` for a name that is not in ``targets``. Safe for several
    threads.
    """
    connections: dict[str, Connection] = {}
    lock = threading.Lock()

    def connect(name: str) -> Connection:
        with lock:
            if name not in connections:
                if name not in targets:
                    raise TransportError(name, f"there is no host {name}")
                connections[name] = make(targets[name])
            return connections[name]

    def make(target: Target) -> Connection:
        secret = target.become_password
        become = Become(None if secret is None else lambda: reveal(secret))
        if target.local:
            from ultraplan.transport.local import LocalConnection

            return LocalConnection(target.name, target.shell_path, become)
        from ultraplan.transport.ssh import SSHConnection

        return SSHConnection(target, become, reveal=reveal, ssh_config=ssh_config, known_hosts=known_hosts,
                             strict=strict)

    return connect
