"""What every kind of source has in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ultraplan import vault
from ultraplan.inventory.builder import Builder
from ultraplan.inventory.paths import exists, expanded, is_folder
from ultraplan.inventory.problems import Problems
from ultraplan.language.errors import Diagnostic, Position, SourceError, did_you_mean
from ultraplan.language.source import read_source


class Opened:
    """A source before it is known what it is. ``text`` reads it once, so it may be a pipe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = expanded(name)

    @cached_property
    def text(self) -> str:
        """The file's text; raises `SourceError` where it cannot be read, is not UTF-8, or is encrypted."""
        text = read_source(self.path)
        if vault.is_encrypted(text):
            raise SourceError([Diagnostic(
                "vault", "an inventory that is encrypted as a whole is not read", Position(self.name, 1, 1), None,
                "encrypt its variables: as !vault values, or in files under group_vars and host_vars")])
        return text

    @property
    def there(self) -> bool:
        """Whether there is a file or folder of that name."""
        return exists(self.path)

    @property
    def executable(self) -> bool:
        """Whether it is a file that we may execute."""
        return self.there and self.path.is_file() and os.access(self.path, os.X_OK)

    @property
    def absolute(self) -> Path:
        """The file's path, symbolic links in it kept."""
        return self.path.absolute()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source is read into, and with. ``script_seconds``: how long an inventory script may take for one answer.

    ``files``: the files that were read, in order.
    """

    kinds: Sequence[Kind]
    builder: Builder
    problems: Problems
    environ: Mapping[str, str]
    script_seconds: float
    files: list[str] = field(default_factory=list)


class Kind(Protocol):
    """A kind of source."""

    def claims(self, source: Opened) -> bool:
        """Whether ``source`` is of this kind."""

    def read(self, source: Opened, into: Reading) -> None:
        """Add what it names to ``into.builder``, its mistakes to ``into.problems`` (or raise `SourceError`)."""


def read_with(into: Reading, name: str) -> None:
    """Read the source ``name`` with the first kind that claims it."""
    source = Opened(name)
    try:
        for kind in into.kinds if name.strip() else ():
            if kind.claims(source):
                into.builder.source = str(source.absolute) if exists(source.path) else ""
                kind.read(source, into)
                if not is_folder(source.path):
                    into.files.append(name)
                return
        into.problems.add("missing-file", f"there is no inventory '{name}'", None, None, _meant(source.path))
    except SourceError as error:
        into.problems.extend(error.diagnostics)
    except OSError as error:
        into.problems.add("unreadable", f"cannot read {name}: {error.strerror}")


def _meant(path: Path) -> str:
    """What a name that is no file may have been meant to be."""
    try:
        beside = [str(path.with_name(entry.name)) for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        beside = []
    return did_you_mean(str(path), beside) or "hosts written in place end with a comma: 'web1,'"
