"""What a lab consists of: kinds of host, options, addresses.

A lab takes one of 256 slots of 198.18.0.0/15, the network set aside for benchmarks (RFC 2544): slot k is the /23 at
198.18.0.0 + 512 k. Hosts are .1 and up, the machine itself is .254 of the upper half.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path

SLOTS = 256
MAX_HOSTS = 500
PREFIX = 23
USERS = {"op": 4001, "oppw": 4002}
"""Unprivileged users of every host, with their numbers. `op` needs no password for sudo, `oppw` does."""
PASSWORD = "correct horse"
"""The password of `oppw` (for sudo: SSH takes keys only). It has a space, because passwords have."""


class LabError(Exception):
    """Something about the lab that a person has to know, in one sentence."""


class Kind(StrEnum):
    """What a host's root file system is, and what PID 1 is."""

    DEBIAN = "debian"
    """This machine's own root below an overlay; sh is dash; PID 1 only reaps."""
    BUSYBOX = "busybox"
    """busybox, sshd and its libraries, nothing else: no coreutils, no sudo, no SFTP server, no Python."""
    SYSTEMD = "systemd"
    """As debian, with systemd as PID 1 in a cgroup of its own, and sshd one of its units."""


@dataclass(frozen=True)
class Options:
    """What `up` is asked for."""

    kinds: tuple[Kind, ...]
    delay_ms: float = 0.0
    """One way, between a host and everything else; a round trip takes twice as long."""
    loss_percent: float = 0.0
    """How many of the packets are lost, each way."""
    pam: bool = False
    owner: int = 0
    """The user who may use the client files (the private key is his)."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.kinds) <= MAX_HOSTS:
            raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, not {len(self.kinds)}")
        if not 0 <= self.loss_percent <= 90:
            raise LabError(f"a loss is 0 to 90 percent, not {self.loss_percent:g}")
        if not 0 <= self.delay_ms <= 10_000:
            raise LabError(f"a delay is 0 to 10000 ms, not {self.delay_ms:g}")


@dataclass(frozen=True)
class Host:
    """One host of a lab; `index` counts from 1 over all hosts of the lab."""

    name: str
    kind: Kind
    index: int
    slot: int

    @property
    def address(self) -> str:
        return str(IPv4Address("198.18.0.0") + 512 * self.slot + self.index)

    @property
    def mac(self) -> str:
        return f"02:00:c6:{self.slot:02x}:{self.index >> 8:02x}:{self.index & 255:02x}"


def gateway(slot: int) -> str:
    """The machine's own address in the lab's network."""
    return str(IPv4Address("198.18.1.254") + 512 * slot)


def gateway_mac(slot: int) -> str:
    return f"02:00:c6:{slot:02x}:ff:fe"


def name_hosts(kinds: tuple[Kind, ...], slot: int) -> list[Host]:
    """h1, h2 … for debian, b1 … for busybox, s1 … for systemd."""
    letters, counts, hosts = {Kind.DEBIAN: "h", Kind.BUSYBOX: "b", Kind.SYSTEMD: "s"}, dict.fromkeys(Kind, 0), []
    for index, kind in enumerate(kinds, 1):
        counts[kind] += 1
        hosts.append(Host(f"{letters[kind]}{counts[kind]}", kind, index, slot))
    return hosts


@dataclass(frozen=True)
class Layout:
    """Where things of a lab lie. `disks` is a mount that only the lab's own processes see."""

    root: Path

    @property
    def control(self) -> Path:
        """The socket on which the supervisor takes orders."""
        return self.root / "control"

    @property
    def state(self) -> Path:
        return self.root / "hosts.json"

    @property
    def key(self) -> Path:
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.root / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.root / "ssh_config"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory.yaml"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def disks(self) -> Path:
        return self.root / "disks"

    def host(self, name: str) -> Path:
        return self.disks / name


def base() -> Path:
    """The folder that holds the labs of this machine, a folder each."""
    return Path("/run/ultraplan-lab")


def default_root() -> Path:
    """`$LAB_DIR`, or the lab called `default`."""
    return Path(os.environ.get("LAB_DIR") or base() / "default")
