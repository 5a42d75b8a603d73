"""What the acceptance tests share: a person's folder with plans, an inventory of lab hosts, and the real program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.lab import Lab
from tests.lab.tree import Tree
from ultraplan.journal.stores import open_store

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "ultraplan.cli.main")
STATE = "/var/lib/ultraplan"
"""Where hosts keep receipts and pre-images of accounts that are root."""
NOT_COMPARED = (STATE, "/var/log")
"""What is written by looking at a host, or by its daemons: the run's own state, and logs. The counters of commands are
in /var/log for that reason."""
GO_ON = {"resume": ("resume",), "rollback": ("rollback", "--yes")}
"""How a person who is not asked goes on with a run."""
COUNTER = "/var/log/counter"


@dataclass(frozen=True)
class Done:
    """How a program ended. ``out`` and ``err``: text, with what is not UTF-8 escaped."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON documents of the output, a line each."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def result(self) -> dict[str, Any]:
        """The closing document of ``--json``."""
        return self.lines[-1]

    def expect(self, code: int) -> Done:
        """Itself, where it ended so."""
        assert self.code == code, f"wanted exit {code}\n{self.said}"
        assert "Traceback" not in self.out + self.err, self.said
        return self


@dataclass
class World:
    """A folder with plans and an inventory of ``hosts``; what `run` starts has its state and home in it."""

    lab: Lab
    hosts: Sequence[str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.inventory({name: {} for name in self.hosts})

    # -- what a person writes -----------------------------------------------------------------------------------

    def inventory(self, hosts: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Any] | None = None,
                  **variables: Any) -> Path:
        """The inventory: a name, and variables, for each of the lab's hosts in turn (or where ``lab`` says)."""
        listed = {}
        for place, (name, own) in zip(self.hosts, hosts.items(), strict=False):
            at = own.get("lab", place)
            options = (f"-o UserKnownHostsFile={self.lab.layout.known_hosts} -o HostKeyAlias={at}")
            listed[name] = {"ansible_host": self.lab.hosts[at].address, "ansible_ssh_common_args": options,
                            **{key: value for key, value in own.items() if key != "lab"}}
        everything = {"ansible_user": "root", "ansible_ssh_private_key_file": str(self.lab.layout.key), **variables}
        return self.write("inventory.json", json.dumps(
            {"all": {"hosts": listed, "vars": everything, "children": groups or {}}}))

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        return path

    def plan(self, steps: str | Sequence[Mapping[str, Any]], name: str = "plan.yaml", **keys: Any) -> Path:
        """A plan in the folder: steps as YAML text or as values, and the plan's other keys."""
        listed = yaml.safe_load(steps) if isinstance(steps, str) else list(steps)
        return self.write(name, yaml.safe_dump({"plan": "acceptance", **keys, "steps": listed}, allow_unicode=True,
                                               sort_keys=False))

    # -- the program --------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ULTRAPLAN", "XDG", "SSH"))}
        path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        return {**kept, "PYTHONPATH": path, "HOME": str(self.folder), "ULTRAPLAN_STATE": str(self.state), **self.env}

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *argv: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """The program, started in the folder with its output in pipes."""
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([*PROGRAM, *map(str, argv)], cwd=self.folder, env=self.environment, **given)

    def start_run(self, plan: str | Path, *more: str | Path) -> subprocess.Popen[bytes]:
        """`apply`, started; returns when the run is in the journal (or when there will be none)."""
        earlier = self.journal()
        process = self.start("apply", plan, "-i", "inventory.json", "--yes", *more)
        while process.poll() is None and self.journal() == earlier:
            time.sleep(0.02)
        return process

    def run(self, *argv: str | Path, timeout: float = 120) -> Done:
        """The program, run to its end."""
        return finish(self.start(*argv), timeout)

    def on(self, verb: str, plan: str | Path, *more: str | Path, timeout: float = 120) -> Done:
        """A verb that takes a plan, with the folder's inventory."""
        return self.run(verb, plan, "-i", "inventory.json", *more, timeout=timeout)

    def apply(self, plan: str | Path, *more: str | Path, timeout: float = 120) -> Done:
        return self.on("apply", plan, "--yes", *more, timeout=timeout)

    def journal(self) -> dict[str, str | None]:
        """The runs in the journal, each with how it was closed."""
        store = open_store(self.state / "journal.db")
        try:
            return {one.run: one.status for one in store.runs()}
        finally:
            store.close()

    def events(self, run: str) -> int:
        """How many events of a run are in the journal."""
        store = open_store(self.state / "journal.db")
        try:
            return sum(1 for _ in store.read(run))
        finally:
            store.close()

    # -- the hosts ----------------------------------------------------------------------------------------------

    def trees(self, *, ctimes: bool = False) -> dict[str, Tree]:
        """Every host's whole disk, but for what is `NOT_COMPARED`."""
        return {host: comparable(self.lab.tree(host, ctimes=ctimes)) for host in self.hosts}

    def sh(self, command: str) -> None:
        """Run on every host, not over SSH."""
        for host in self.hosts:
            self.lab.sh(host, command)

    def text(self, host: str, path: str) -> str:
        """A host's file; empty where there is none."""
        return self.lab.sh(host, ["cat", path], check=False).stdout

    def counts(self, host: str) -> dict[str, int]:
        """How often each line stands in the host's counter."""
        lines = self.text(host, COUNTER).split()
        return {line: lines.count(line) for line in lines}


def comparable(tree: Tree) -> Tree:
    """``tree`` without what is `NOT_COMPARED`."""
    return {path: entry for path, entry in tree.items()
            if not any(path == top or path.startswith(f"{top}/") for top in NOT_COMPARED)}


def differences(before: Mapping[str, Tree], after: Mapping[str, Tree]) -> list[str]:
    """What is not the same in two listings, a line each; empty where nothing is."""
    found = []
    for host in before:
        for path in sorted(before[host].keys() | after[host].keys()):
            old, new = before[host].get(path), after[host].get(path)
            if old != new:
                found.append(f"{host} {path}: {old} → {new}")
    return found


def finish(process: subprocess.Popen[bytes], timeout: float = 120) -> Done:
    """The program's end; where it takes longer than ``timeout`` seconds, it is killed and that fails."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout:g} s\n{_text(out)}\n{_text(err)}") from None
    return Done(process.returncode, _text(out), _text(err))


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, unless it has ended by itself."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate()


def _text(output: bytes) -> str:
    return output.decode("utf-8", "backslashreplace")
