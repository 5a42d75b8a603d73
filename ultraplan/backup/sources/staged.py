"""Sources that first make their content: a program on the host fills a scratch folder there, whose files are the set.

The program prints ``KEY=VALUE`` lines: ``root=PATH`` for each root of the archive (relative to the scratch folder),
``version.NAME=TEXT``, and ``at=POSITION`` of the snapshot that it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ultraplan.backup.errors import BackupError, SourceFailed
from ultraplan.backup.manifest import Host, Source
from ultraplan.backup.sources.base import Ended
from ultraplan.backup.sources.files import roots_of
from ultraplan.backup.sources.host import HostStream, Link, archive_command
from ultraplan.shell import quote

_MOST_SAID = 1 << 20

_BEGIN = """\
umask 077
UP_STAGE=$(mktemp -d "${TMPDIR:-/var/tmp}/ultraplan-backup-XXXXXX") || exit 1
printf 'stage=%s\\n' "$UP_STAGE"
uname -n | sed 's/^/hostname=/'
tar --version 2>/dev/null | sed -n '1s/^/tar=/p'
fail() { printf '%s\\n' "$*" >&2; exit 1; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a source makes its content. ``program``: POSIX sh; ``$UP_STAGE`` is the scratch folder, `fail WORDS` gives
    up. ``afterwards``: what RESTORE.txt says to do after unpacking."""

    kind: str
    program: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    afterwards: str = ""


class Staged:
    """A recipe on a host, as a source. `close` removes the scratch folder."""

    def __init__(self, link: Link, recipe: Recipe) -> None:
        self._link, self._recipe = link, recipe
        self._told: dict[str, str] = {}
        self.roots: Sequence[bytes] = ()

    @property
    def host(self) -> Host:
        """See `Reads.host`; its own name is known after `describe`."""
        return Host(self._link.name, self._told.get("hostname", self._link.name))

    @property
    def names(self) -> Sequence[str]:
        """See `Reads.names`."""
        hostname = self._told.get("hostname", "")
        return tuple(dict.fromkeys((self._link.name, self._link.address, hostname, hostname.partition(".")[0])))

    @property
    def afterwards(self) -> str:
        """See `Reads.afterwards`."""
        return self._recipe.afterwards

    def describe(self) -> Source:
        """See `Reads.describe`: makes the content."""
        said = _Said()
        reply = self._link.stream(_BEGIN + self._recipe.program, said)
        rows = [line.partition("=") for line in said.content.decode("utf-8", "replace").splitlines()]
        self._told = {key: value for key, _, value in rows if key != "root"}
        if reply.exit != 0:
            self.close()
            words = reply.error_text.strip().splitlines()
            raise SourceFailed(f"{self._recipe.kind} on {self._link.name}: "
                               f"{'; '.join(words[-3:]) or f'exit {reply.exit}'}")
        if "GNU tar" not in self._told.get("tar", ""):
            self.close()
            raise BackupError(f"{self._link.name} has no GNU tar", "install it there")
        self.roots = roots_of([f"/{value.lstrip('/')}" for key, _, value in rows if key == "root"])
        versions = {key.removeprefix("version."): value for key, value in self._told.items()
                    if key.startswith("version.")}
        return Source(self._recipe.kind, dict(self._recipe.settings), versions)

    def tools(self) -> dict[str, str]:
        """See `Reads.tools`."""
        return {"tar": self._told["tar"]}

    def open(self) -> _StagedStream:
        """See `Reads.open`."""
        stage = self._told["stage"]
        return _StagedStream(HostStream(self._link, archive_command(self.roots, stage)), self._told.get("at"))

    def close(self) -> None:
        """See `Reads.close`."""
        stage = self._told.pop("stage", "")
        if "/ultraplan-backup-" in stage:
            self._link.look(f"rm -rf -- {quote(stage)}\n")


class _Said:
    """What a program printed, as long as it is little."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> None:
        self.content = (self.content + data)[:_MOST_SAID]


class _StagedStream:
    """The archive of a scratch folder, with the position of the snapshot in it."""

    def __init__(self, inner: HostStream, at: str | None) -> None:
        self._inner, self._at = inner, at
        self.read, self.close = inner.read, inner.close

    def finish(self) -> Ended:
        """See `Stream.finish`. Nobody writes to a scratch folder, so a change in it is a mistake."""
        ended = self._inner.finish()
        if ended.notes:
            raise SourceFailed(f"{ended.notes[0].path.decode('utf-8', 'backslashreplace')}: {ended.notes[0].text}")
        return Ended((), self._at)
