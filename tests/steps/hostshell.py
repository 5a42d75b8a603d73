"""A stand-in for a host's shell: runs a step's programs for real, as the engine would, in scratch folders."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ultraplan.shell import Program, Reply, library
from ultraplan.steps.base import Change, HostStep, State
from ultraplan.steps.params import SourceFile, build


@dataclass
class HostShell:
    """``sh`` of one kind, with the function library; ``prefix`` is `$UP_PRE`, ``base`` the plan's folder."""

    argv: tuple[str, ...]
    path: str
    root: Path
    prefix: Path
    base: Path

    def command(self, program: Program, tmp: Path) -> tuple[list[str], dict[str, str]]:
        """What to start, and its environment; uploads are put in ``tmp``."""
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(mode=0o700)
        for upload in program.uploads:
            content = upload.source if isinstance(upload.source, bytes) else upload.source.read_bytes()
            (tmp / upload.name).write_bytes(content)
        text = program.text if program.foreign else f"{library()}\n{program.text}"
        (tmp / ".program").write_text(f"umask 077\n{text}\n", encoding="utf-8")
        environment = {
            "PATH": self.path, "HOME": str(self.root), "UP_PRE": str(self.prefix), "UP_TMP": str(tmp),
        }
        return [*self.argv, str(tmp / ".program")], environment

    def run(self, program: Program) -> Reply:
        """Run one program to its end."""
        argv, environment = self.command(program, self.prefix.parent / "tmp")
        done = subprocess.run(
            argv, env=environment, cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            check=False)
        return Reply(done.returncode, done.stdout, done.stderr)

    def build(self, step: HostStep[Any], **raw: Any) -> Any:
        """Typed parameters; sources are relative to ``base``."""
        def files(kind: type, name: str) -> Any:
            assert kind is SourceFile
            return SourceFile(name, self.base / name)

        return build(step, raw, files)

    def state(self, step: HostStep[Any], params: Any) -> State:
        """Probe and observe."""
        return step.observe(params, self.run(step.probe(params)))

    def plan(self, step: HostStep[Any], params: Any) -> Change | None:
        """Probe and decide."""
        return step.decide(params, self.state(step, params))

    def apply(self, step: HostStep[Any], params: Any) -> tuple[Change, Reply, str | None]:
        """The change, the answer to its effect, and what is wrong afterwards."""
        change = self.plan(step, params)
        assert change is not None and change.forward is not None
        reply = self.run(change.forward)
        return change, reply, step.verify(params, self.state(step, params), reply)


def busybox_folder(folder: Path) -> Path:
    """A folder with busybox's applets and nothing else, to be the whole PATH."""
    folder.mkdir()
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        (folder / applet).symlink_to("/bin/busybox")
    return folder


def tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below ``root``: kind, mode, owner, and content or target."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted([root, *root.rglob("*")]):
        info = path.lstat()
        owner = (info.st_uid, info.st_gid)
        if path.is_symlink():
            found[str(path.relative_to(root))] = ("link", owner, str(path.readlink()))
        elif path.is_dir():
            found[str(path.relative_to(root))] = ("dir", oct(info.st_mode & 0o7777), owner)
        else:
            found[str(path.relative_to(root))] = (
                "file", oct(info.st_mode & 0o7777), owner, int(info.st_mtime), path.read_bytes())
    return found


@pytest.fixture(params=["dash", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> HostShell:
    """A host with dash and the system's tools, and one with busybox only."""
    for name in ("root", "state", "plan"):
        (tmp_path / name).mkdir(mode=0o700)
    argv, path = ("dash",), "/usr/sbin:/usr/bin:/sbin:/bin"
    if request.param == "busybox":
        path = str(busybox_folder(tmp_path / "applets"))
        argv = (f"{path}/sh",)
    return HostShell(argv, path, tmp_path / "root", tmp_path / "state" / "op-1", tmp_path / "plan")
