"""The environment that has Ansible (`make test` makes it), and inventories written as mappings of files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin"


class Peer:
    """Ansible in a process of its own; `ask` is one question and its answer."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen([PEERS / "python", Path(__file__).with_name("ansible_peer.py")], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                         env=environ, cwd=folder)

    def ask(self, question: str, **details: Any) -> Any:
        """The answer to ``question`` of tests/inventory/ansible_peer.py."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"ask": question, **details}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"Ansible's process ended with {self._process.wait(10)} at {details}"
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)


@pytest.fixture(scope="session")
def ansible_environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which Ansible has its defaults and writes nothing outside a temporary directory."""
    home = tmp_path_factory.mktemp("ansible")
    (home / "ansible.cfg").write_text("[defaults]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
    return {**kept, "HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_CONFIG": str(home / "ansible.cfg"), "LC_ALL": "C.UTF-8", "ANSIBLE_LOCAL_TEMP": str(home / "tmp")}


@pytest.fixture(scope="session")
def peers() -> Path:
    """The directory of Ansible's commands; its absence is a failure where CI is set, otherwise a reason to skip."""
    if not (PEERS / "ansible-inventory").exists():
        missing = "there is no .venv-peers with ansible-core; `make test` makes it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return PEERS


@pytest.fixture(scope="session")
def ansible(peers: Path, ansible_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Ansible, started once."""
    peer = Peer(ansible_environ, tmp_path_factory.mktemp("cwd"))
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
