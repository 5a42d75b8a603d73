"""Programs as values: what a step wants run on a host, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a program runs as, when it is not the one that logged in (Ansible's become)."""

    user: str = "root"
    method: str = "sudo"


@dataclass(frozen=True, slots=True)
class Upload:
    """Content that a program finds at ``"$UP_TMP"/NAME``; a path is a file of the controller, streamed, never held."""

    name: str
    source: bytes | Path


@dataclass(frozen=True, slots=True)
class Program:
    """POSIX sh text with what it needs. It may use the function library and these variables:

    ``$UP_PRE``  path prefix of the operation's pre-image, in the host's state directory (nothing there before);
    ``$UP_TMP``  the run's private scratch directory on the host.

    Its stdin is empty. Its exit code says whether it worked; 0 is success. Values in it went through `quote`; secrets
    in it are markers. ``foreign``: it runs a person's own command, so it gets a session (setsid) of its own, a bounded
    output, and is killed as a group at its deadline. ``gentle``: a look that leaves its shell as it found it (folder,
    options, traps, open files) and ends it only where it cannot look, so that others may follow in the same shell.
    """

    text: str
    uploads: tuple[Upload, ...] = ()
    foreign: bool = False
    gentle: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a program answered. ``truncated``: more was printed than is kept."""

    exit: int
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False

    @property
    def text(self) -> str:
        """stdout as text; undecodable bytes as U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """stderr as text; undecodable bytes as U+FFFD."""
        return self.stderr.decode("utf-8", "replace")


@cache
def library() -> str:
    """The function library (every ``lib/*.sh`` beside this file, in name order), sent once to each shell."""
    from importlib import resources  # only a run needs it

    folder = resources.files("ultraplan.shell") / "lib"
    parts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sh")), key=lambda e: e.name)
    return "".join(part.read_text(encoding="utf-8") for part in parts)
