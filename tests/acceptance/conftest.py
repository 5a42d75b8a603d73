"""`world(3)`: a folder of plans and three hosts that are as they were made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.world import World
from tests.lab import Lab


@pytest.fixture
def world(lab: Lab, lab_hosts: Callable[..., list[str]], tmp_path: Path) -> Callable[..., World]:
    def make(count: int = 1, kind: str = "debian") -> World:
        hosts = lab_hosts(count, kind)
        return World(lab, hosts, tmp_path / f"{kind}-{hosts[0]}")

    return make
