"""The page about backups is true: its commands are run, and print what it shows."""

from __future__ import annotations

from pathlib import Path

from tests.docs.conftest import ROOT
from tests.docs.transcripts import Player

PAGE = ROOT / "docs" / "how-to" / "back-up-and-restore.md"


def test_the_page_about_backups_prints_what_it_shows(tmp_path: Path, program: dict[str, str]) -> None:
    wrong = Player(tmp_path, program).play(PAGE)
    assert not wrong, "\n\n".join(wrong)
