"""Case files: finding and loading them, and the worlds they run in. The format is described in README.md."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.steps.executor import Executor
from ultraplan.secrets import Secrets, marker
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import Change, HostStep, State
from ultraplan.steps.params import SourceFile, build
from ultraplan.steps.registry import registry

HERE = Path(__file__).parent
_KEYS = {"title", "params", "secrets", "files", "before", "needs", "expect", "check", "later", "reverse",
         "reverse_message", "kill"}
_EXPECT = {"nothing", "refused", "change", "state"}
_CHANGE = {"summary", "diff", "after", "outputs", "forward", "message"}


@cache
def step_type(name: str) -> HostStep[Any]:
    """The step type of a folder of cases."""
    kind = registry().get(name)
    if not isinstance(kind, HostStep):
        raise LookupError(f"tests/steps/{name}: there is no host step type {name!r}")
    return kind


@dataclass(frozen=True)
class Case:
    """One case file."""

    step: str
    name: str
    data: dict[str, Any]

    @property
    def change(self) -> dict[str, Any] | None:
        """What the case says about the change, or None where it expects none."""
        found: dict[str, Any] | None = self.data["expect"].get("change")
        return found

    @property
    def fails(self) -> bool:
        """Whether the forward program has to fail."""
        return self.change is not None and self.change.get("forward") == "fails"


def cases() -> list[Case]:
    """Every case file below this folder, by step type and name. Raises ValueError for one that is not well formed."""
    found = []
    for path in sorted(HERE.glob("*/*.yaml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        where = f"{path.parent.name}/{path.name}"
        unknown = (set(data) - _KEYS) | (set(data["expect"]) - _EXPECT) | (
            set(data["expect"].get("change") or {}) - _CHANGE)
        if unknown:
            raise ValueError(f"{where}: unknown keys {', '.join(sorted(unknown))}")
        if len(set(data["expect"]) & {"nothing", "refused", "change"}) != 1:
            raise ValueError(f"{where}: expect has exactly one of nothing, refused and change")
        found.append(Case(path.parent.name, path.stem, data))
    return found


def tree(root: Path, *, times: bool = False) -> dict[str, tuple[Any, ...]]:
    """All below ``root``: kind, mode, owner, and content and time, or target. ``times``: change times as well."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted([root, *root.rglob("*")]):
        info = path.lstat()
        row: tuple[Any, ...] = (oct(info.st_mode), info.st_uid, info.st_gid)
        if path.is_symlink():
            row += (os.readlink(path), info.st_mtime_ns)  # noqa: PTH115 (a Path would tidy the target)
        elif path.is_file():
            row += (path.read_bytes(), info.st_mtime_ns)
        found[str(path.relative_to(root))] = (*row, info.st_ctime_ns) if times else row
    return found


class World:
    """A case's scratch folders, and its step on the host that lives in them."""

    def __init__(self, case: Case, base: Path, shell: tuple[str, ...], path: str, state: Path | None = None) -> None:
        self.case, self.step = case, step_type(case.step)
        self.root, self.plan = base / "root", base / "plan"
        self.state = state or base / "state"
        for folder in (self.root, self.plan, self.state, base / "tmp"):
            folder.mkdir(mode=0o755 if folder == self.root else 0o700, parents=True)
        self.host = Executor(shell, path, self.state, base / "tmp", self.root)
        self._secrets = Secrets(
            case.data.get("secrets", {}), {"env": lambda name: str(case.data["secrets"][f"env:{name}"])})
        for name, text in case.data.get("files", {}).items():
            target = self.plan / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        self.sh("before")
        self.params = build(self.step, self.fill(case.data["params"]), self._file)

    def _file(self, kind: type, name: str) -> Any:
        path = self.plan / name
        return SourceFile(name, path) if kind is SourceFile else kind(name, path.read_text(encoding="utf-8"))

    def fill(self, value: Any) -> Any:
        """``value`` with the placeholders replaced."""
        if isinstance(value, str):
            value = value.replace("@ROOT@", str(self.root)).replace("@PLAN@", str(self.plan))
            for reference in self.case.data.get("secrets", {}):
                value = value.replace(f"«secret {reference}»", marker(reference))
            return value
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return [self.fill(item) for item in value] if isinstance(value, list) else value

    def sh(self, key: str) -> None:
        """Run one of the case's own snippets in the root; it has to succeed."""
        text = self.fill(self.case.data.get(key, ""))
        done = subprocess.run(
            ["sh", "-euc", text], cwd=self.root, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, f"`{key}` of the case exits {done.returncode}: {done.stderr}"

    def revealed(self, program: Program) -> Program:
        """``program`` as it is sent: with the values of its secrets."""
        return Program(self._secrets.reveal_in_shell(program.text), program.uploads, program.foreign)

    def run(self, program: Program) -> Reply:
        """Send a program and wait for its answer."""
        return self.host.run(self.revealed(program))

    def observe(self) -> State:
        """Probe, and observe."""
        return self.step.observe(self.params, self.run(self.step.probe(self.params)))

    def decide(self) -> Change | None:
        """Probe, observe and decide."""
        return self.step.decide(self.params, self.observe())

    def left(self) -> list[str]:
        """What lies in the state folder."""
        return sorted(path.name for path in self.state.iterdir())
