"""What a step type does with a host in scratch folders: parameters built, looked at, decided, carried out for real."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.steps.executor import SYSTEM, Executor, busybox_applets
from ultraplan.shell import Reply
from ultraplan.steps.base import Change, HostStep, State
from ultraplan.steps.params import SourceFile, build


@dataclass(frozen=True)
class HostShell(Executor):
    """An executor with the plan's folder ``base``."""

    base: Path

    @property
    def root(self) -> Path:
        """Where programs begin, and what they change."""
        return self.cwd

    def build(self, step: HostStep[Any], **raw: Any) -> Any:
        """Typed parameters; sources are relative to ``base``."""
        def files(kind: type, name: str) -> Any:
            assert kind is SourceFile
            return SourceFile(name, self.base / name)

        return build(step, raw, files)

    def state_of(self, step: HostStep[Any], params: Any) -> State:
        """Probe and observe."""
        return step.observe(params, self.run(step.probe(params)))

    def plan(self, step: HostStep[Any], params: Any) -> Change | None:
        """Probe and decide."""
        return step.decide(params, self.state_of(step, params))

    def apply(self, step: HostStep[Any], params: Any) -> tuple[Change, Reply, str | None]:
        """The change, the answer to its effect, and what is wrong afterwards."""
        change = self.plan(step, params)
        assert change is not None and change.forward is not None
        reply = self.run(change.forward)
        return change, reply, step.verify(params, self.state_of(step, params), reply)


@pytest.fixture(params=["dash", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> HostShell:
    """A host with dash and the system's tools, and one with busybox only."""
    for name in ("root", "state", "tmp", "plan"):
        (tmp_path / name).mkdir(mode=0o700)
    shell, path = ("dash",), SYSTEM
    if request.param == "busybox":
        path = busybox_applets(tmp_path / "applets")
        shell = (f"{path}/sh",)
    return HostShell(shell, path, tmp_path / "state", tmp_path / "tmp", tmp_path / "root", tmp_path / "plan")
