"""Ansible, to ask what it makes of an inventory; and inventories written as mappings of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.peers import Peer, ansible_environ, peers

__all__ = ["ansible_environ", "peers"]


@pytest.fixture(scope="session")
def ansible(peers: Path, ansible_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Ansible, started once."""
    peer = Peer(ansible_environ, Path(__file__).with_name("ansible_peer.py"), tmp_path_factory.mktemp("cwd"))
    yield peer
    peer.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Writes files (by relative path) into a new directory and gives it; what begins with ``#!`` is executable."""

    def write_files(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                path.chmod(0o755)
        return tmp_path

    return write_files
