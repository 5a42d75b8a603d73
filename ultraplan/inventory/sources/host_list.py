"""Hosts written in place of a file: ``web1,web2:2222,``."""

from __future__ import annotations

from ultraplan.inventory.names import split_port
from ultraplan.inventory.paths import exists
from ultraplan.inventory.sources.base import Opened, Reading


class HostList:
    """Text with a comma that is no file's name. Ranges are not expanded, as in Ansible."""

    def claims(self, source: Opened) -> bool:
        """Whether it has a comma and no file has that name."""
        return "," in source.name and not exists(source.path)

    def read(self, source: Opened, into: Reading) -> None:
        """Add its hosts, ungrouped; one that is known already stays as it is."""
        for text in filter(None, map(str.strip, source.name.split(","))):
            name, port = split_port(text, ranges=False) or (text, None)
            if name not in into.builder.hosts:
                into.builder.add_host(name, "ungrouped", port)
