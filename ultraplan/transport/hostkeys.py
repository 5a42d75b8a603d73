"""Host keys: OpenSSH's known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) and the verdict on a host's key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from ultraplan.shell import join
from ultraplan.transport.base import HostKeyMismatch


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a known_hosts file that is about the host that was asked for."""

    file: Path
    line: int
    key_type: str
    blob: bytes
    revoked: bool


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The known_hosts ``files``, the person's first. ``strict``: an unknown key is refused; otherwise it is added to
    the first file (OpenSSH's ``StrictHostKeyChecking accept-new``). A changed key is refused in any case."""

    files: tuple[Path, ...]
    strict: bool = True

    def entries(self, names: Sequence[str]) -> list[Entry]:
        """The entries of the first of ``names`` that has any."""
        for name in names:
            found = [entry for file in self.files for entry in _entries(file, name)]
            if found:
                return found
        return []

    def check(self, host: str, address: str, names: Sequence[str], port: int, key_type: str, blob: bytes) -> None:
        """Return if ``blob`` is the key on record for ``names`` (the first is the name to record it under).

        Raises `HostKeyMismatch`, which shows the fingerprints and what to do; ``host`` is the inventory name,
        ``address`` and ``port`` where we connected.
        """
        entries = self.entries(names)
        got = f"{key_type} {fingerprint(blob)}"
        if any(entry.revoked and entry.blob == blob for entry in entries):
            raise HostKeyMismatch(host, f"the host key {got} of {names[0]} is marked @revoked",
                                  "the host has to get a new key before it can be trusted")
        valid = [entry for entry in entries if not entry.revoked]
        if any(entry.blob == blob for entry in valid):
            return
        if not valid:
            self._unknown(host, address, names[0], port, key_type, blob)
            return
        on_record = ", ".join(f"{e.key_type} {fingerprint(e.blob)} ({e.file}:{e.line})" for e in valid)
        fix = join(("ssh-keygen", "-f", str(valid[0].file), "-R", names[0]))
        raise HostKeyMismatch(
            host, f"the host key of {names[0]} has CHANGED: it is {got}, on record is {on_record}",
            f"somebody may be listening in. If the host really got a new key: {fix}, then record the new one")

    def _unknown(self, host: str, address: str, name: str, port: int, key_type: str, blob: bytes) -> None:
        if self.strict:
            scan = join(("ssh-keyscan", "-p", str(port), address))
            file = self.files[0] if self.files else Path("~/.ssh/known_hosts")
            raise HostKeyMismatch(
                host, f"the host key of {name} is unknown: {key_type} {fingerprint(blob)}",
                f"compare the fingerprint with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), then: "
                f"{scan} >> {file}")
        if self.files and str(self.files[0]) != os.devnull:
            _append(self.files[0], f"{name} {key_type} {base64.b64encode(blob).decode()}\n")


def names_of(address: str, port: int, alias: str | None) -> list[str]:
    """The names that a host's key may be on record under, as OpenSSH looks for them; the first to record it under."""
    if alias is not None:
        return [alias.lower()]
    plain = address.lower()
    return [plain] if port == 22 else [f"[{plain}]:{port}", plain]


def fingerprint(blob: bytes) -> str:
    """``SHA256:…`` as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a known_hosts file that may be of use."""

    number: int
    names: str
    key_type: str
    key: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class _Lines:
    """A file's lines: by name, where the names are plain, and those that have to be gone through."""

    plain: Mapping[str, list[_Line]]
    other: Sequence[_Line]


def _entries(file: Path, name: str) -> Iterator[Entry]:
    try:
        status = file.stat()
        lines = _lines(file, status.st_ino, status.st_mtime_ns, status.st_size)
    except OSError:  # a file that is not there, or not ours to read, knows no host
        return
    found = [*lines.plain.get(name, ()), *(line for line in lines.other if _is_about(line.names, name))]
    for line in sorted(found, key=lambda line: line.number):
        try:
            blob = base64.b64decode(line.key, validate=True)
        except binascii.Error:
            continue
        yield Entry(file, line.number, line.key_type, blob, revoked=line.revoked)


@lru_cache(maxsize=8)
def _lines(file: Path, inode: int, mtime_ns: int, size: int) -> _Lines:
    """The file's lines, read once for all hosts; it is another file as soon as it has changed."""
    plain: dict[str, list[_Line]] = {}
    other = []
    for number, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        mark = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3 or mark == "@cert-authority":
            continue
        line = _Line(number, words[0], words[1], words[2], mark == "@revoked")
        if words[0].startswith("|") or any(special in words[0] for special in "*?!"):
            other.append(line)
        else:
            for name in dict.fromkeys(words[0].lower().split(",")):
                plain.setdefault(name, []).append(line)
    return _Lines(plain, other)


def _is_about(field: str, name: str) -> bool:
    if field.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in field[3:].split("|"))
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    matched = False
    for pattern in field.lower().split(","):
        negated = pattern.startswith("!")
        # Only * and ? are special in OpenSSH's patterns; brackets belong to [host]:port.
        if fnmatchcase(name, re.sub(r"\[", "[[]", pattern.removeprefix("!"))):
            if negated:
                return False
            matched = True
    return matched


def _append(file: Path, line: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())  # one write: hosts are connected in parallel
    finally:
        os.close(fd)
