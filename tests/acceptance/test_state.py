"""What a run leaves in a host's state folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.world import STATE, World

pytestmark = pytest.mark.lab


def test_only_the_state_folder_itself_is_private_not_what_is_made_above_it(world: Callable[..., World]) -> None:
    here = world(1, "busybox")
    host, = here.hosts
    assert not here.lab.path(host, "/var/lib").exists()

    here.apply(here.plan("[{id: one, file: {path: /one, content: '1'}}]")).expect(0)

    modes = {path: here.lab.path(host, path).stat().st_mode & 0o7777 for path in ("/var/lib", STATE, f"{STATE}/runs")}
    assert modes == {"/var/lib": 0o755, STATE: 0o700, f"{STATE}/runs": 0o700}
