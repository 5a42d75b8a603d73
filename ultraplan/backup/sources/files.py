"""Trees of files of this machine as a source."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ultraplan.backup import gnutar
from ultraplan.backup.errors import Refused, SourceFailed
from ultraplan.backup.manifest import Host, Source


def roots_of(paths: Sequence[str]) -> tuple[bytes, ...]:
    """Absolute paths as roots: relative to ``/``, in the order of an archive, none inside another.

    Raises `Refused` for paths that are relative, or not in their plain form.
    """
    roots: list[PurePosixPath] = []
    for path in paths:
        plain = PurePosixPath(path)
        if not plain.is_absolute() or ".." in plain.parts or path.startswith("//"):
            raise Refused(f"{path!r}: what is backed up is given by its absolute path, without '..'")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise Refused(f"{path!r}: a path that is not UTF-8 cannot be named in a manifest",
                          "give the folder above it") from None
        roots.append(plain.relative_to("/"))
    if not roots:
        raise Refused("there is nothing to back up: no path is given")
    kept = [one for one in dict.fromkeys(roots) if not any(other in one.parents for other in roots)]
    kept.sort(key=lambda one: [os.fsencode(part) for part in one.parts])
    return tuple(os.fsencode(str(one)) for one in kept)


class LocalFiles:
    """Paths of this machine: trees and single files, with links, holes, attributes, ACLs and nanoseconds.

    ``exclude``: shell patterns; one with a slash is held against the whole path, one without against any name.
    ``one_file_system``: do not go into what is mounted below.
    """

    def __init__(self, paths: Sequence[str], exclude: Sequence[str] = (), one_file_system: bool = False,
                 name: str | None = None) -> None:
        hostname = os.uname().nodename
        self.host = Host(name or hostname, hostname)
        self.names = tuple(dict.fromkeys((self.host.name, hostname, hostname.partition(".")[0], "localhost")))
        self.roots = roots_of(paths)
        self._exclude, self._one_file_system = tuple(exclude), one_file_system

    def describe(self) -> Source:
        """See `Reads.describe`."""
        for root in self.roots:
            path = Path("/") / os.fsdecode(root)
            try:
                mode = path.lstat().st_mode
            except OSError as error:
                raise SourceFailed(f"{path}: {error.strerror}") from None
            if stat.S_ISLNK(mode):
                raise Refused(f"{path} is a symbolic link; backing it up would keep the link alone",
                              f"give what it leads to: {path.resolve()}")
        return Source("files", {
            "paths": ["/" if root == b"." else f"/{root.decode()}" for root in self.roots],
            "exclude": list(self._exclude), "one_file_system": self._one_file_system})

    def tools(self) -> dict[str, str]:
        """See `Reads.tools`."""
        return {"tar": gnutar.version()}

    @property
    def afterwards(self) -> str:
        """See `Reads.afterwards`."""
        return ""

    def close(self) -> None:
        """See `Reads.close`."""

    def open(self) -> gnutar.TarStream:
        """See `Reads.open`."""
        words: list[bytes | str] = [*gnutar.exclusions(self._exclude)]
        if self._one_file_system:
            words.append("--one-file-system")
        members = [b"./" + root if root != b"." else b"./" for root in self.roots]
        return gnutar.TarStream([*words, "--directory=/", "--", *members])
