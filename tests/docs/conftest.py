"""The program under its name, for pages that are played."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def keep_apart(folder: Path) -> None:
    """Let the hosts of the inventory in ``folder``, which are this machine, keep their receipts beside it."""
    (folder / "group_vars").mkdir()
    (folder / "group_vars" / "all.yaml").write_text(f"ultraplan_state_dir: {folder.parent}/on-hosts\n")


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment in which `ultraplan` is this repository's, with a journal of its own, and no settings of ours."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "ultraplan"
    command.write_text(f'#!/bin/sh\nexport PYTHONPATH="{ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"\n'
                       f'exec "{sys.executable}" -m ultraplan.cli.main "$@"\n')
    command.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "ULTRAPLAN_STATE": str(tmp_path / "state"), "TERM": "dumb"}
