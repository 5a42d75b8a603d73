"""What an undo says is true: what is still there is not called undone, however often it is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(
        f"plan: folders\nsteps:\n  - id: deep\n    directory: {{path: {tmp_path}/a/b/c}}\n")
    (tmp_path / "hosts").write_text(f"localhost ansible_connection=local ultraplan_state_dir={tmp_path}/host\n")
    return tmp_path


def up(here: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([sys.executable, "-m", "ultraplan.cli.main", *words, "--json"], cwd=here, text=True,
                          env={**os.environ, "ULTRAPLAN_STATE": str(here / "state")}, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_folder_with_something_foreign_in_it_is_left_and_said_to_be_left_until_it_can_go(here: Path) -> None:
    assert up(here, "apply", "plan.yaml", "-i", "hosts", "--yes")[0] == 0
    (here / "a" / "foreign").write_text("somebody's")
    for words in (["rollback", "--yes"], ["resume"], ["rollback", "--yes"]):
        code, told = up(here, *words)
        assert (code, told["status"]) == (4, "rollback_incomplete"), words
        assert "not empty" in told["residue"][0]
        assert (here / "a" / "foreign").read_text() == "somebody's"
    (here / "a" / "foreign").unlink()
    code, told = up(here, "rollback", "last", "--yes")
    assert (code, told["status"]) == (0, "rolled_back")
    assert not (here / "a").exists()
