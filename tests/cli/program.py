"""The real program, in a folder of its own, with a state folder and a local inventory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Program:
    """Runs `ultraplan` in ``folder``. ``hosts``: names in its inventory, all of them this machine."""

    def __init__(self, folder: Path, cache: Path, hosts: Sequence[str] = ("localhost",)) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.root = folder / "root"
        self.root.mkdir()
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("ULTRAPLAN", "PYTHONDONTWRITE", "COLUMNS", "LINES", "NO_COLOR"))}
        self.environment |= {"ULTRAPLAN_STATE": str(self.state), "PYTHONPATH": str(ROOT),
                             "PYTHONPYCACHEPREFIX": str(cache), "HOME": str(folder), "TERM": "xterm"}
        self.write("inventory.yaml", json.dumps({"all": {"hosts": {name: {
            "ansible_connection": "local", "ultraplan_state_dir": str(folder / f"host-{index}"),
            "root": str(self.root / name)} for index, name in enumerate(hosts)}}}))
        for name in hosts:
            (self.root / name).mkdir()
        self.write("ultraplan.yaml", "inventory: inventory.yaml\n")

    def write(self, name: str, text: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def plan(self, steps: str, name: str = "plan.yaml", head: str = "") -> str:
        """A plan file for all hosts with these steps (YAML, not indented); gives its name."""
        self.write(name, f"plan: tried\nhosts: all\n{head}steps:\n{_indented(steps)}")
        return name

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ultraplan.cli.main", *arguments]

    def __call__(self, *arguments: str, code: int | None = 0, stdin: str = "",
                 env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run to the end. ``code``: the exit code that it must have (None: any)."""
        done = subprocess.run(self.command(*arguments), cwd=self.folder, env=self.environment | dict(env or {}),
                              input=stdin, capture_output=True, text=True, timeout=120, check=False)
        assert code is None or done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        """The one JSON document that it prints."""
        done = self(*arguments, "--json", code=code)
        return json.loads(done.stdout)

    def ndjson(self, *arguments: str, code: int | None = 0) -> list[Any]:
        """The JSON documents that it prints, one a line."""
        return [json.loads(line) for line in self(*arguments, "--json", code=code).stdout.splitlines()]

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start it and go on; Ctrl-C can be sent to it with `interrupt`."""
        return subprocess.Popen(self.command(*arguments), cwd=self.folder, env=self.environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def last(self) -> str:
        """The id of the newest run."""
        ids: list[str] = self("runs", "list", "--ids").stdout.split()
        return ids[0]


def interrupt(process: subprocess.Popen[str]) -> None:
    """What a terminal does on Ctrl-C."""
    process.send_signal(signal.SIGINT)


def wait_for(path: Path, seconds: float = 30) -> None:
    """Wait until something is at ``path``."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not turn up"
        time.sleep(0.02)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.strip("\n").splitlines())
