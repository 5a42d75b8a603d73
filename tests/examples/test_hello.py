"""examples/hello as a person would use it: checked, previewed, applied, broken, rolled back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = ("blue", "green")


class Hello:
    """The example in a folder of its own, with disks and states that nobody else has."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.disks = folder / "hello", folder / "disks"
        shutil.copytree(ROOT / "examples" / "hello", self.folder)
        (self.folder / "own.yaml").write_text(f"all: {{vars: {{ultraplan_state_dir: {folder}/host}}}}\n")

    def __call__(self, verb: str, *words: str, release: str = "1.0", code: int = 0) -> str:
        """What the program prints about the plan, or (without words) about the last run."""
        about = ("hello.yaml", "-i", "inventory.yaml", "-i", "own.yaml", "-e", f"release={release}", "-e",
                 f"base={self.disks}") if verb in ("validate", "plan", "apply") else ()
        done = subprocess.run([sys.executable, "-m", "ultraplan.cli.main", verb, *about, *words], cwd=self.folder,
                              capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, env={
                                  **os.environ, "PYTHONPATH": str(ROOT), "ULTRAPLAN_STATE": str(self.disks) + ".state"})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def greetings(self) -> list[str]:
        """What each host says."""
        return [subprocess.run([self.disks / host / "current" / "greet", self.disks / host / "etc" / "greet.conf"],
                               capture_output=True, text=True, check=True, timeout=10).stdout for host in HOSTS]

    def tree(self) -> dict[str, object]:
        """Everything on the disks, with what tells whether it is the very same."""
        found: dict[str, object] = {}
        for path in sorted(self.disks.rglob("*")):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_uid, 0 if path.is_dir() else status.st_ino,
                                0 if path.is_dir() else status.st_mtime_ns)
        return found


@pytest.fixture
def hello(tmp_path: Path) -> Hello:
    return Hello(tmp_path)


def test_validating_and_planning_touch_nothing(hello: Hello) -> None:
    assert "hello.yaml: ok: 6 steps" in hello("validate")
    assert "10 to change, 2 to check" in hello("plan")
    assert not hello.disks.exists()


def test_a_release_goes_live_and_a_second_time_nothing_changes(hello: Hello) -> None:
    hello("apply", "--yes")
    assert hello.greetings() == ["Hello from blue\n", "Bonjour de green\n"]
    before = hello.tree()
    assert "2 checked, 10 unchanged" in hello("apply", "--yes")
    assert hello.tree() == before


def test_a_release_that_one_host_cannot_run_goes_back_on_both(hello: Hello) -> None:
    hello("apply", "--yes")
    before = hello.tree()
    told = hello("apply", "--yes", release="2.0", code=1)
    assert "cause: greets on green: exit code 1: greet 2.0: no greeting in 'fr'" in told
    assert "undone on blue: live, config, release" in told
    assert hello.tree() == before


def test_a_release_that_was_fine_can_be_taken_back_later(hello: Hello) -> None:
    hello("apply", "--yes")
    before = hello.tree()
    hello("apply", "--yes", release="2.1")
    assert hello.greetings() == ["Hello, world, from blue\n", "Bonjour à tous, de green\n"]
    hello("rollback", "--yes")
    assert hello.tree() == before
