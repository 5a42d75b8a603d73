"""The tutorial is true: its local part is played against the real program, and prints what the page shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.conftest import ROOT, keep_apart
from tests.docs.transcripts import Player

PAGE = ROOT / "docs" / "tutorial" / "first-plan.md"
DISKS = Path("/tmp/ultraplan-tutorial")


@pytest.fixture
def disks() -> Iterator[None]:
    shutil.rmtree(DISKS, ignore_errors=True)
    yield
    shutil.rmtree(DISKS, ignore_errors=True)


@pytest.mark.usefixtures("disks")
def test_the_tutorial_prints_what_it_shows(tmp_path: Path, program: dict[str, str]) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    keep_apart(folder)
    wrong = Player(folder, program).play(PAGE, until="## The same on real hosts")
    assert not wrong, "\n\n".join(wrong)
    assert not DISKS.exists(), "nothing is left of it"
