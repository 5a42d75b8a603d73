"""What a tool is to the benchmarks: files written once, then a command line for each phase."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from benchmarks.work import Work
from tests.lab import Lab

Phase = Literal["first", "again", "preview"]
PHASES: tuple[Phase, ...] = ("preview", "first", "again")
"""In the order in which they are run: a preview of what is to be done, the first run, and one that finds it done (its
commands run all the same)."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the work is done. ``folder`` is a tool's own, and empty."""

    lab: Lab
    hosts: Sequence[str]
    work: Work
    folder: Path

    @property
    def key(self) -> Path:
        """The private key that every host knows."""
        return self.lab.layout.key

    @property
    def known_hosts(self) -> Path:
        """The host keys; every tool checks them."""
        return self.lab.layout.known_hosts

    def address(self, host: str) -> str:
        """The host's address."""
        return self.lab.hosts[host].address

    def inventory(self, *, interpreter: bool) -> Path:
        """An inventory in Ansible's format, for Ansible and for us."""
        arguments = f"-F /dev/null -o IdentitiesOnly=yes -o UserKnownHostsFile={self.known_hosts}"
        lines = ["all:", "  vars:", "    ansible_user: root",
                 f"    ansible_ssh_private_key_file: {json.dumps(str(self.key))}",
                 f"    ansible_ssh_common_args: {json.dumps(arguments)}"]
        if interpreter:  # finding it out would cost a trip for each host
            lines.append("    ansible_python_interpreter: /usr/bin/python3")
        lines += ["  hosts:", *(f"    {host}: {{ansible_host: {self.address(host)}}}" for host in self.hosts)]
        path = self.folder / "inventory.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path


class Tool(ABC):
    """A tool at a site. ``name`` on the command line, ``label`` in tables."""

    name: ClassVar[str]
    label: ClassVar[str]
    peer: ClassVar[str | None] = None
    """The environment that it needs (`benchmarks.environments`)."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def prepare(self) -> None:
        """Write what the tool reads: its inventory and its way of saying the work."""

    @abstractmethod
    def command(self, phase: Phase) -> list[str]:
        """The command line."""

    def environment(self) -> dict[str, str]:
        """The environment variables that it runs with."""
        kept = ("PATH", "LANG", "LC_ALL")
        return {"HOME": str(self.site.folder), **{name: os.environ[name] for name in kept if name in os.environ}}

    def close(self) -> None:
        """Let go of connections that the tool keeps open between runs."""
        return
