"""What case files cannot say of the file steps: static mistakes, hosts without tools, accounts, uploads, secrets."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.steps.cases import step_type, tree
from tests.steps.executor import SYSTEM, Executor
from ultraplan.secrets import marker
from ultraplan.shell import Reply
from ultraplan.steps.base import StepFailed
from ultraplan.steps.content import INLINE_LIMIT
from ultraplan.steps.params import SourceFile, build


@pytest.fixture
def host(tmp_path: Path) -> Executor:
    for name in ("root", "state", "tmp"):
        (tmp_path / name).mkdir()
    return Executor(("dash",), SYSTEM, tmp_path / "state", tmp_path / "tmp", tmp_path / "root")


def _do(host: Executor, name: str, raw: Any) -> Any:
    """Probe, decide and run the forward program; gives the change, None where nothing was to be done."""
    step = step_type(name)
    params = build(step, raw, lambda kind, value: SourceFile(value, Path(value)))
    change = step.decide(params, step.observe(params, host.run(step.probe(params))))
    if change is not None:
        assert change.forward is not None
        reply = host.run(change.forward)
        assert reply.exit == 0, reply.error_text
        state = step.observe(params, host.run(step.probe(params)))
        assert step.decide(params, state) is None
        assert dict(state.facts) == dict(change.after or {})
    return change


@pytest.mark.parametrize(("name", "raw", "where", "message"), [
    ("file", {"path": "/a", "content": "", "source": "x"}, ("source",), "exclude each other"),
    ("file", {"path": "/a"}, (), "nothing to do"),
    ("file", {"path": "/a/", "content": ""}, ("path",), "ends with a slash"),
    ("link", {"path": "/a", "target": "b", "hard": True}, ("target",), "absolute path"),
    ("absent", {"path": "/"}, ("path",), "root directory"),
    ("absent", {"path": "/usr/", "recursive": True}, ("path",), "of the system itself"),
    ("absent", {"path": "/srv/x/../y"}, ("path",), "holds '..'"),
    ("lineinfile", {"path": "/a"}, (), "line is missing"),
    ("lineinfile", {"path": "/a", "state": "absent"}, (), "which lines go"),
    ("lineinfile", {"path": "/a", "line": "x", "regexp": "("}, ("regexp",), "no regular expression"),
    ("lineinfile", {"path": "/a", "line": "x\ny"}, ("line",), "no newline"),
    ("lineinfile", {"path": "/a", "line": "x", "backrefs": True}, ("backrefs",), "there is no regexp"),
    ("lineinfile", {"path": "/a", "line": "x", "insertafter": "a", "insertbefore": "b"}, ("insertbefore",), "exclude"),
    ("blockinfile", {"path": "/a", "marker_end": "BEGIN"}, ("marker_end",), "have to differ"),
])
def test_static_mistakes_are_found(name: str, raw: dict[str, Any], where: tuple[str, ...], message: str) -> None:
    (found,) = step_type(name).check(raw)
    assert found[0] == where
    assert message in found[1]


@pytest.mark.parametrize("name", ["file", "directory", "link", "absent", "lineinfile", "blockinfile"])
def test_the_example_runs_and_goes_back(name: str, host: Executor, tmp_path: Path) -> None:
    before, done = tree(host.cwd), []
    text = step_type(name).example.replace("{{ inputs.root }}", str(host.cwd))
    for number, step in enumerate(yaml.safe_load(text)):
        (kind,) = set(step) - {"id"}
        state = tmp_path / f"state-{number}"
        state.mkdir()
        here = Executor(host.shell, host.path, state, host.tmp, host.cwd)
        assert step_type(kind).check(step[kind]) == []
        change = _do(here, kind, step[kind])
        assert change is not None
        done.append((here, change))
    assert kind == name
    for here, change in reversed(done):
        assert here.run(change.reverse).exit == 0
    assert tree(host.cwd) == before


def test_a_host_without_stat_sha256sum_and_readlink_is_looked_at_by_ls_and_openssl(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("ls", "cat", "id", "sh", "rm", "mv", "ln", "sync", "chmod", "chown", "openssl", "cp", "mkdir"):
        (folder / tool).symlink_to(next(p for p in (Path(d) / tool for d in ("/usr/bin", "/bin")) if p.exists()))
    for name in ("root", "state", "tmp"):
        (tmp_path / name).mkdir()
    host = Executor(("/usr/bin/dash",), str(folder), tmp_path / "state", tmp_path / "tmp", tmp_path / "root")
    path = host.cwd / "a -> b\n\n"
    path.write_bytes(b"x" * 300_000)
    path.chmod(0o7654)
    change = _do(host, "file", {"path": str(path), "content": "new", "mode": "1640"})
    assert [(diff.field, diff.before) for diff in change.diff[1:]] == [("mode", "7654")]
    link = host.cwd / "l -> m"
    link.symlink_to("x -> y\n")
    assert _do(host, "link", {"path": str(link), "target": "x -> y\n"}) is None


@pytest.mark.parametrize("size", [INLINE_LIMIT, INLINE_LIMIT + 1, 400_000])
@pytest.mark.parametrize("kind", ["content", "source"])
def test_large_contents_are_uploaded_and_small_ones_travel_inline(
        kind: str, size: int, host: Executor, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("é\n" + "x" * (size - 3))
    value = str(source) if kind == "source" else source.read_text()
    change = _do(host, "file", {"path": str(host.cwd / "large"), kind: value})
    assert bool(change.forward.uploads) == (size > INLINE_LIMIT)
    assert (host.cwd / "large").read_bytes() == source.read_bytes()


def test_a_source_that_is_a_folder_or_missing_is_refused(tmp_path: Path) -> None:
    step = step_type("file")
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "none", "cannot be read")):
        params = build(step, {"path": "/x", "source": "s"}, lambda kind, value, path=path: SourceFile(value, path))
        with pytest.raises(StepFailed, match=message):
            step.probe(params)


def test_what_stands_in_a_source_is_never_taken_for_a_secret(host: Executor, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text(f"a {marker('env:HOME')} b")
    change = _do(host, "file", {"path": str(host.cwd / "copy"), "source": str(source)})
    assert marker("env:HOME") not in change.forward.text
    assert (host.cwd / "copy").read_bytes() == source.read_bytes()


def test_an_answer_that_is_cut_short_is_a_failure_and_no_observation() -> None:
    step = step_type("file")
    params = build(step, {"path": "/x", "content": ""}, lambda kind, value: value)
    with pytest.raises(StepFailed, match="cut short"):
        step.observe(params, Reply(0, b"mode=81a4\nuid=0"))
    with pytest.raises(StepFailed, match="no such host"):
        step.observe(params, Reply(1, b"", b"no such host\n"))


def test_an_edit_of_a_file_that_changed_since_it_was_read_fails(host: Executor) -> None:
    path = host.cwd / "a"
    path.write_text("1\n")
    step = step_type("lineinfile")
    params = build(step, {"path": str(path), "line": "2"}, lambda kind, value: value)
    change = step.decide(params, step.observe(params, host.run(step.probe(params))))
    assert change is not None
    assert change.forward is not None
    path.write_text("somebody else's\n")
    reply = host.run(change.forward)
    assert reply.exit != 0
    assert "changed by somebody else" in reply.error_text
    assert path.read_text() == "somebody else's\n"


def _mount(place: Path, options: str) -> None:
    """Mount an empty file system, or skip the test."""
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("needs to mount a file system")


def test_a_full_disk_leaves_the_old_file(host: Executor) -> None:
    _mount(host.cwd, "size=64k")
    try:
        path = host.cwd / "a"
        path.write_text("old")
        step = step_type("file")
        params = build(step, {"path": str(path), "content": "x" * 200_000}, lambda kind, value: value)
        before = tree(host.cwd)
        change = step.decide(params, step.observe(params, host.run(step.probe(params))))
        assert change is not None
        assert change.forward is not None
        assert change.reverse is not None
        assert host.run(change.forward).exit != 0
        assert tree(host.cwd) == before
        assert host.run(change.reverse).exit == 0
        assert tree(host.cwd) == before
    finally:
        subprocess.run(["umount", host.cwd], check=True)


def test_a_file_that_cannot_be_replaced_needs_no_way_back(host: Executor) -> None:
    """A bind mount, as containers have /etc/hosts; a file made immutable behaves the same."""
    path = host.cwd / "a"
    path.write_text("old")
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", path, path], check=False).returncode != 0:
        pytest.skip("needs to mount a file")
    try:
        step = step_type("file")
        params = build(step, {"path": str(path), "content": "new"}, lambda kind, value: value)
        before = tree(host.cwd)
        change = step.decide(params, step.observe(params, host.run(step.probe(params))))
        assert change is not None
        assert change.forward is not None
        assert change.reverse is not None
        assert host.run(change.forward).exit != 0
        assert tree(host.cwd) == before
        reply = host.run(change.reverse)
        assert reply.exit == 0, reply.error_text
        assert tree(host.cwd) == before
        assert not [one for one in host.state.iterdir() if one.name.startswith("op-1")]
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_folder_with_a_mount_point_in_it_is_not_removed(host: Executor) -> None:
    inner = host.cwd / "a" / "in ner\\040"
    inner.mkdir(parents=True)
    _mount(inner, "size=64k")
    try:
        with pytest.raises(StepFailed, match="mount point"):
            _do(host, "absent", {"path": str(host.cwd / "a"), "recursive": True})
    finally:
        subprocess.run(["umount", inner], check=True)
    assert _do(host, "absent", {"path": str(host.cwd / "a"), "recursive": True}) is not None


def test_an_account_that_is_not_root_does_not_secure_what_it_could_not_put_back(host: Executor, tmp_path: Path) -> None:
    if os.geteuid() != 0 or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs root and a second file system")
    folder = host.cwd / "a"
    folder.mkdir()
    (folder / "mine").write_text("x")
    for path in (*tmp_path.rglob("*"), tmp_path, *list(tmp_path.parents)[:-1]):
        path.chmod(path.stat().st_mode | 0o055)
    for path in (host.cwd, folder, host.tmp):
        os.chown(path, 65534, 65534)
    folder.joinpath("roots").write_text("y")
    state = Path(tempfile.mkdtemp(dir="/dev/shm"))
    os.chown(state, 65534, 65534)
    try:
        nobody = Executor(("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "dash"), SYSTEM, state,
                          host.tmp, host.cwd)
        step = step_type("absent")
        params = build(step, {"path": str(folder), "recursive": True}, lambda kind, value: value)
        before = tree(host.cwd)
        change = step.decide(params, step.observe(params, nobody.run(step.probe(params))))
        assert change is not None
        assert change.forward is not None
        reply = nobody.run(change.forward)
        assert reply.exit != 0
        assert "files of other accounts" in reply.error_text
        assert tree(host.cwd) == before
    finally:
        subprocess.run(["rm", "-rf", state], check=True)
