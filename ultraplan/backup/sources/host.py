"""Trees of files of another host as a source: its own GNU tar, read as a stream; nothing is stored there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from ultraplan.backup import gnutar
from ultraplan.backup.errors import BackupError, Refused, SourceFailed
from ultraplan.backup.manifest import Host, Source
from ultraplan.backup.pipes import Broken, Pipe
from ultraplan.backup.sources.base import Ended
from ultraplan.backup.sources.files import roots_of
from ultraplan.backup.stores.base import Writer
from ultraplan.shell import Reply, join, quote

_LOOK = """\
uname -n
tar --version 2>/dev/null | head -n 1
for path in {paths}; do
	if [ -L "$path" ]; then echo link; elif [ -e "$path" ]; then echo there; else echo missing; fi
done
"""


class Link(Protocol):
    """What is needed of a host; errors of the connection are raised as they are."""

    name: str
    address: str

    def look(self, text: str) -> Reply:
        """Run a small program that reads only."""

    def stream(self, text: str, sink: Writer) -> Reply:
        """Run a program with its output into ``sink``; the reply has its exit code and stderr."""


class HostFiles:
    """Paths of a host: see `ultraplan.backup.sources.files.LocalFiles`."""

    def __init__(self, link: Link, paths: Sequence[str], exclude: Sequence[str] = (),
                 one_file_system: bool = False) -> None:
        self.roots = roots_of(paths)
        self._link, self._exclude, self._one_file_system = link, tuple(exclude), one_file_system
        self._hostname = self._tar = ""

    @property
    def host(self) -> Host:
        """See `Reads.host`; its own name is known after `describe`."""
        return Host(self._link.name, self._hostname or self._link.name)

    @property
    def names(self) -> Sequence[str]:
        """See `Reads.names`."""
        return tuple(dict.fromkeys((self._link.name, self._link.address, self._hostname,
                                    self._hostname.partition(".")[0])))

    def describe(self) -> Source:
        """See `Reads.describe`."""
        paths = ["/" if root == b"." else f"/{root.decode()}" for root in self.roots]
        reply = self._link.look(_LOOK.format(paths=join(paths)))
        rows = reply.text.split("\n")
        if reply.exit != 0 or len(rows) < len(paths) + 2:
            raise SourceFailed(f"{self._link.name} cannot be looked at: {reply.error_text.strip()[-300:]}")
        self._hostname, self._tar = rows[0].strip(), rows[1].strip()
        if "GNU tar" not in self._tar:
            raise BackupError(f"{self._link.name} has no GNU tar ({self._tar or 'none at all'})",
                              "only GNU tar keeps extended attributes, ACLs and nanoseconds; install it there")
        for path, found in zip(paths, rows[2:], strict=False):
            if found == "missing":
                raise SourceFailed(f"{path} is not there, on {self._link.name}")
            if found == "link":
                raise Refused(f"{path} on {self._link.name} is a symbolic link, and only the link would be kept",
                              "give what it leads to")
        return Source("files", {"paths": paths, "exclude": list(self._exclude),
                                "one_file_system": self._one_file_system})

    def tools(self) -> dict[str, str]:
        """See `Reads.tools`."""
        return {"tar": self._tar}

    def open(self) -> HostStream:
        """See `Reads.open`."""
        words = [*gnutar.exclusions(self._exclude), *(["--one-file-system"] if self._one_file_system else [])]
        return HostStream(self._link, archive_command(self.roots, "/", words))

    @property
    def afterwards(self) -> str:
        """See `Reads.afterwards`."""
        return ""

    def close(self) -> None:
        """See `Reads.close`."""


def archive_command(roots: Sequence[bytes], folder: str, words: Sequence[str] = ()) -> str:
    """The program that writes the archive of ``roots``, which lie below ``folder``, to its output."""
    members = ["./" if root == b"." else f"./{root.decode()}" for root in roots]
    settings = " ".join(f"{name}={quote(value)}" for name, value in gnutar.ENVIRONMENT.items())
    return f"export {settings}\nexec {join([*gnutar.CREATE, *words, f'--directory={folder}', '--', *members])}\n"


class HostStream:
    """A running ``tar --create`` on a host."""

    def __init__(self, link: Link, text: str) -> None:
        self._link, self._text, self._pipe = link, text, Pipe()
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=f"backup-of-{link.name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._reply = self._link.stream(self._text, self._pipe)
            self._pipe.end()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever reads
            self._error = error
            self._pipe.abandon()

    def read(self, count: int) -> bytes:
        """See `Reader`."""
        try:
            return self._pipe.read(count)
        except Broken:
            self._thread.join()
            raise self._failure() from None

    def finish(self) -> Ended:
        """See `Stream.finish`."""
        self._thread.join()
        if self._reply is None:
            raise self._failure()
        return gnutar.ended(self._reply.exit, self._reply.stderr)

    def close(self) -> None:
        """See `Stream.close`."""
        self._pipe.abandon()
        self._thread.join()

    def _failure(self) -> BaseException:
        error: Any = self._error
        return error if error is not None else SourceFailed(f"the archive of {self._link.name} broke off")
