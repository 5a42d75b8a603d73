"""A run and a saved plan belong to the folder they were made in, wherever the next command is typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.program import Program, interrupt, wait_for

STEPS = """
- id: wait
  command: "touch {root}/began; sleep 1"
  irreversible: a mark
- id: small
  file: {{path: "{root}/small", template: small.j2}}
- id: large
  copy: {{source: large, path: "{root}/large"}}
- id: secret
  file: {{path: "{root}/secret", content: {{secret: "file:../secrets/pw"}}}}
"""


@pytest.fixture
def plan(up: Program) -> str:
    """A plan in a folder below, whose template, file and secret are named by relative paths."""
    up.write("plans/small.j2", "of {{ host.name }}\n")
    up.write("plans/large", b"x" * 400_000)
    up.write("secrets/pw", "not to be told\n")
    return up.plan(STEPS.format(root=up.root / "localhost"), name="plans/plan.yaml")


def _from(folder: Path, up: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(up.command(*arguments), cwd=folder, env=up.environment, capture_output=True, text=True,
                          timeout=60, check=False)


def _assert_complete(up: Program) -> None:
    home = up.root / "localhost"
    assert (home / "small").read_text() == "of localhost\n"
    assert (home / "large").stat().st_size == 400_000
    assert (home / "secret").read_text() == "not to be told"


def test_resume_works_from_any_folder(up: Program, plan: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    process = up.start("apply", plan, "--yes")
    wait_for(up.root / "localhost" / "began")
    interrupt(process)
    process.communicate(timeout=30)
    assert process.returncode == 130
    done = _from(tmp_path_factory.mktemp("elsewhere"), up, "resume")
    assert done.returncode == 0, (done.stdout, done.stderr)
    _assert_complete(up)


def test_a_saved_plan_works_from_any_folder(up: Program, plan: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    up("plan", plan, "-i", "inventory.yaml", "-o", "saved.plan")
    done = _from(tmp_path_factory.mktemp("elsewhere"), up, "apply", str(up.folder / "saved.plan"))
    assert done.returncode == 0, (done.stdout, done.stderr)
    _assert_complete(up)


def test_a_secret_file_that_is_missing_is_named_with_the_place_looked_at(up: Program, plan: str) -> None:
    (up.folder / "secrets" / "pw").unlink()
    done = up("apply", plan, "--yes", code=None)
    assert done.returncode != 0
    assert str(up.folder / "secrets" / "pw") in done.stdout + done.stderr
