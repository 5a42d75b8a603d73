from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bytecode cache for all programs: most of what a start costs is compiling imports."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def up(tmp_path: Path, bytecode: Path) -> Program:
    """The program, with one local host."""
    return Program(tmp_path, bytecode)


@pytest.fixture
def two(tmp_path: Path, bytecode: Path) -> Program:
    """The program, with two local hosts, a and b."""
    return Program(tmp_path, bytecode, ("a", "b"))
