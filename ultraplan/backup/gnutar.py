"""GNU tar as a process: the commands that make and unpack archives, and what it says on the way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ultraplan.backup.errors import BackupError, SourceFailed
from ultraplan.backup.members import Note
from ultraplan.backup.pipes import MEBIBYTE
from ultraplan.backup.sources.base import Ended

ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC0"}
"""In another locale tar would recode names, and speak another language."""

CREATE = ("tar", "--create", "--file=-", "--format=posix", "--xattrs", "--xattrs-include=*",
          "--xattrs-exclude=system.posix_acl_*", "--acls", "--sparse", "--sort=name",
          "--pax-option=delete=atime,delete=ctime", "--no-unquote", "--quoting-style=escape",
          "--warning=no-file-ignored")
"""How an archive is made; folder, exclusions and members follow. ACLs go as ACLs, not a second time as attributes."""

EXTRACT = ("tar", "--extract", "--file=-", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--acls",
           "--sparse", "--delay-directory-restore", "--no-unquote", "--quoting-style=escape")
"""How it is unpacked into an empty folder; the folder and, where not all is wanted, the members follow."""

_CHANGED = re.compile(r"tar: (.+?): (file changed as we read it|[Ff]ile removed before we read it"
                      r"|File shrank by \d+ bytes?; padding with zeros)")
_LAST = re.compile(r"tar: Exiting with failure status due to previous errors")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_MOST_NOTES = 10_000
_MOST_SAID = 1 << 20


def version() -> str:
    """tar's own line about itself. Raises `BackupError` where it is not GNU tar."""
    try:
        done = subprocess.run(["tar", "--version"], capture_output=True, check=False, timeout=30,
                              env={**os.environ, **ENVIRONMENT})
    except OSError as error:
        raise BackupError(f"tar cannot be started: {error.strerror}", "install GNU tar") from None
    line = done.stdout.decode("utf-8", "replace").partition("\n")[0].strip()
    if "GNU tar" not in line:
        raise BackupError(f"tar is not GNU tar ({line or 'it does not tell its version'})",
                          "only GNU tar keeps extended attributes, ACLs and nanoseconds; install it")
    return line


class TarStream:
    """A running ``tar --create``."""

    def __init__(self, arguments: Sequence[bytes | str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        try:
            self._process = subprocess.Popen(
                [*CREATE, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said,
                env={**os.environ, **ENVIRONMENT}, bufsize=0)
        except OSError as error:
            self._said.close()
            raise SourceFailed(f"tar cannot be started: {error.strerror}") from None
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._out = self._process.stdout
        with contextlib.suppress(OSError):  # 64 KiB wake both sides sixteen times a mebibyte
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, MEBIBYTE)

    def read(self, count: int) -> bytes:
        """See `Reader`."""
        return self._out.read(count) or b""

    def finish(self) -> Ended:
        """See `Stream.finish`."""
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read(_MOST_SAID)
        return ended(status, said)

    def close(self) -> None:
        """See `Stream.close`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._out.close()
        self._said.close()


def ended(status: int, said: bytes) -> Ended:
    """What tar's exit status and words mean. 0: whole; 1: something changed while it was read; raises
    `SourceFailed` for anything else."""
    notes: list[Note] = []
    wrong: list[str] = []
    for line in said.decode("utf-8", "surrogateescape").splitlines():
        found = _CHANGED.fullmatch(line)
        if found:
            notes.append(Note(_member_path(found[1]), found[2].lower()))
        elif line.startswith("tar: ") and not _LAST.match(line) and not line.startswith("tar: Removing "):
            wrong.append(line.removeprefix("tar: "))
    if status not in (0, 1) or (status == 1 and not notes):
        first = "; ".join(wrong[:3]).encode("utf-8", "backslashreplace").decode() or f"tar ended with exit {status}"
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise SourceFailed(f"not everything could be read: {first}{more}",
                           "a backup with holes is none: make it readable, or exclude it")
    return Ended(notes[:_MOST_NOTES])


def _member_path(quoted: str) -> bytes:
    """The path in a message (``--quoting-style=escape``), as members have it."""
    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _ESCAPES.get(code, code)

    raw = _ESCAPE.sub(plain, quoted.encode("utf-8", "surrogateescape"))
    return raw.removeprefix(b"./").rstrip(b"/") or b"."


def exclusions(patterns: Sequence[str]) -> list[str]:
    """Arguments that leave out what matches: shell patterns; one with a slash is held against the whole path."""
    words = []
    for pattern in patterns:
        anchored = "--anchored" if "/" in pattern else "--no-anchored"
        slash = "--no-wildcards-match-slash" if "/" in pattern else "--wildcards-match-slash"
        whole = "./" + pattern.lstrip("/") if "/" in pattern else pattern
        words += [anchored, "--wildcards", slash, f"--exclude={whole}"]
    return words


class Unpacking:
    """A running ``tar --extract`` into ``folder``; write the archive to it, then `finish`."""

    def __init__(self, folder: Path, options: Sequence[str], members: Sequence[bytes] = ()) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [*EXTRACT, *options, f"--directory={folder}", *((b"--no-wildcards", b"--", *members) if members else ())],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said, env={**os.environ, **ENVIRONMENT})
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._in = self._process.stdin

    def write(self, data: bytes) -> None:
        """The next bytes of the archive."""
        try:
            self._in.write(data)
        except BrokenPipeError:
            raise BackupError(f"the archive could not be unpacked: {self._words()}") from None

    def finish(self) -> None:
        """The archive is over; raises `BackupError` where not everything could be written."""
        with contextlib.suppress(BrokenPipeError):  # its exit status tells why
            self._in.close()
        status = self._process.wait()
        if status != 0:
            raise BackupError(f"the archive could not be unpacked: {self._words() or f'tar ended with exit {status}'}",
                              "is there room, and may this account write there?")

    def close(self) -> None:
        """Stop it, wherever it is."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._said.close()

    def _words(self) -> str:
        self._said.seek(0)
        lines = self._said.read(_MOST_SAID).decode("utf-8", "backslashreplace").splitlines()
        return "; ".join(line.removeprefix("tar: ") for line in lines if not _LAST.match(line))[:500]
