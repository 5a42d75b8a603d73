"""Putting a bug into a copy of the repository, and finding out which test catches it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.planted.bugs import Bug

REPOSITORY = Path(__file__).parents[2]
COPIED = ("ultraplan", "tests", "examples", "schemas", "pyproject.toml")
PATIENCE = 600.0
"""Seconds that the tests of one bug may take."""


class Outdated(Exception):
    """A bug's replacement does not fit the code any more."""


@dataclass(frozen=True)
class Caught:
    """``by``: the test that failed with the bug; None: none did. ``said``: what pytest printed."""

    bug: str
    by: str | None
    seconds: float
    said: str


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of what the tests need, thrown away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ultraplan-planted-"))
    try:
        for name in COPIED:
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"),
                                symlinks=True)
            else:
                shutil.copy2(REPOSITORY / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plant(bug: Bug, folder: Path) -> None:
    """Put ``bug`` into the copy at ``folder``; raises `Outdated`."""
    for name, text, instead in bug.edits:
        path = folder / name
        content = path.read_text()
        if content.count(text) != 1:
            raise Outdated(f"{bug.name}: {name} has this {content.count(text)} times, not once:\n{text}")
        path.write_text(content.replace(text, instead))


def check(folder: Path, tests: Sequence[str]) -> tuple[str | None, str]:
    """Run ``tests`` in the copy: the first that fails (None: all pass), and what was printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:xdist", "-rf", "--no-header", "--tb=line", *tests]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL, check=False)
    said = done.stdout + done.stderr
    if done.returncode == 0:
        if " passed" not in said:
            raise AssertionError(f"no test was run:\n{said}")
        return None, said
    found = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - |$)", said, re.MULTILINE)
    if done.returncode != 1 or found is None:
        raise AssertionError(f"pytest ended with {done.returncode}:\n{said}")
    return found[1], said


def catch(bug: Bug) -> Caught:
    """Which of the bug's tests catches it."""
    began = time.monotonic()
    with copy() as folder:
        plant(bug, folder)
        by, said = check(folder, bug.tests)
    return Caught(bug.name, by, time.monotonic() - began, said)
