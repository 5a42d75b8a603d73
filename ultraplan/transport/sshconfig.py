"""ssh_config(5) for one target: the person's and the system's files, with what the inventory says put first."""

from __future__ import annotations

import glob
from pathlib import Path

import paramiko

from ultraplan.transport.base import TransportError
from ultraplan.transport.hostkeys import KnownHosts
from ultraplan.transport.target import Target

_USER_FILE, _SYSTEM_FILE = Path("~/.ssh/config"), Path("/etc/ssh/ssh_config")
_USER_KNOWN = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_KNOWN = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_INCLUDE_DEPTH = 16


def settings(target: Target, ssh_config: Path | None) -> paramiko.SSHConfig:
    """The configuration in which ``target.address`` is looked up; jump hosts are looked up in it too, without the
    inventory's options, which are the target's alone. Raises `TransportError` for a file that cannot be read."""
    lines = [f"Host {target.address}"]
    lines += [f"{name} {_quoted(value)}" for name, value in target.options]
    given = Path(target.config_file) if target.config_file else ssh_config
    for file in (given,) if given is not None else (_USER_FILE, _SYSTEM_FILE):
        lines.append("Host *")  # what stands before a file's first Host is for every host
        lines += _lines(target.name, file.expanduser(), required=given is not None)
    try:
        return paramiko.SSHConfig.from_text("\n".join(lines) + "\n")
    except paramiko.ConfigParseError as error:
        raise TransportError(target.name, f"ssh_config: {error}") from None


def known_hosts(found: paramiko.SSHConfigDict, given: Path | None, strict: bool) -> KnownHosts:
    """The known_hosts files and the strictness that ``found``, a looked-up configuration, asks for."""
    choice = found.get("stricthostkeychecking", "").lower()
    if choice:
        strict = choice in ("yes", "true", "ask")
    if given is not None:
        return KnownHosts((given,), strict)
    names = f"{found.get('userknownhostsfile', _USER_KNOWN)} {found.get('globalknownhostsfile', _GLOBAL_KNOWN)}"
    return KnownHosts(tuple(Path(name).expanduser() for name in names.split() if name != "none"), strict)


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value and '"' not in value and not value.startswith("none") else value


def _lines(host: str, file: Path, *, required: bool, depth: int = 0) -> list[str]:
    """The lines of ``file``, each Include (which paramiko does not know) replaced by what it names."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if required:
            raise TransportError(host, f"ssh_config: {file} does not exist") from None
        return []
    except OSError as error:
        raise TransportError(host, f"ssh_config: {file}: {error.strerror}") from None
    lines: list[str] = []
    section = "Host *"
    for line in text.splitlines():
        words = line.replace("=", " ", 1).split()
        word = words[0].lower() if words else ""
        if word in ("host", "match"):
            section = line
        if word != "include":
            lines.append(line)
            continue
        if depth >= _INCLUDE_DEPTH:
            raise TransportError(host, f"ssh_config: {file}: Include goes round in circles")
        for pattern in words[1:]:
            where = Path(pattern.strip('"')).expanduser()
            for name in sorted(glob.glob(str(where if where.is_absolute() else file.parent / where))):  # noqa: PTH207
                lines += _lines(host, Path(name), required=True, depth=depth + 1)
        lines.append(section)  # the section that the Include stood in goes on
    return lines
