"""Fixtures for every test: real SSH hosts.

A test that wants them is marked `lab` and asks for `lab_hosts` (or for `lab`, when the clients' files are all it
needs). Without root, or without the tools, it is skipped; where `CI` is set, it fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.lab import Kind, Lab, Options, why_unavailable

POOL = (Kind.DEBIAN,) * 10 + (Kind.BUSYBOX, Kind.SYSTEMD)

HandOut = Callable[..., list[str]]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The session's lab: h1 … h10 (Debian), b1 (busybox) and s1 (systemd)."""
    reason = why_unavailable()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with Lab.up(Options(POOL)) as lab:
        yield lab


@pytest.fixture
def lab_hosts(lab: Lab) -> Iterator[HandOut]:
    """`lab_hosts(3)`, `lab_hosts(1, "busybox")`: names of hosts that are as they were made, and nobody else's.

    What the test did to them (cut, killed, written) is undone after it.
    """
    given: list[str] = []

    def hand_out(count: int, kind: Kind | str = Kind.DEBIAN) -> list[str]:
        free = [h.name for h in lab.hosts.values() if h.kind == kind and h.name not in given]
        if len(free) < count:
            raise ValueError(f"the lab has {len(free)} {kind} hosts left, not {count}")
        given.extend(free[:count])
        return free[:count]

    yield hand_out
    if given:
        lab.reset(*given)
