"""A directory of sources, read in name order."""

from __future__ import annotations

from ultraplan.inventory.paths import is_folder
from ultraplan.inventory.sources.base import Opened, Reading, read_with

IGNORED_NAMES = frozenset({"host_vars", "group_vars", "vars_plugins"})
"""Entries that hold something else than a source."""

IGNORED_ENDINGS = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
"""Endings that Ansible ignores by default (its REJECT_EXTS and INVENTORY_IGNORE_EXTS)."""


class Directory:
    """A directory whose entries are sources themselves, directories included; hidden ones are not."""

    def claims(self, source: Opened) -> bool:
        """Whether it is a directory."""
        return is_folder(source.path)

    def read(self, source: Opened, into: Reading) -> None:
        """Read every entry that is not ignored."""
        for name in sorted(entry.name for entry in source.path.iterdir()):
            if not (name.startswith(".") or name in IGNORED_NAMES or name.endswith(IGNORED_ENDINGS)):
                read_with(into, str(source.path / name))
