"""The environment that has Ansible (`make test` makes it): a process of it that answers questions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers" / "bin"


class Peer:
    """A script of ours in that environment's interpreter: a line of JSON in, a line of JSON out."""

    def __init__(self, environ: Mapping[str, str], script: Path, folder: Path) -> None:
        self._process = subprocess.Popen([PEERS / "python", script], text=True, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ, cwd=folder)

    def ask(self, question: str, **details: Any) -> Any:
        """The script's answer to ``question``."""
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
