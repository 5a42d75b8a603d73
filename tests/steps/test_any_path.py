"""Whatever a path, a content or a link's target is made of, it is data: it arrives as it is, and goes back."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.steps.cases import step_type, tree
from tests.steps.executor import SYSTEM, Executor, busybox_applets
from ultraplan.shell import Program, literal, plain, quote
from ultraplan.steps.base import Change
from ultraplan.steps.params import build

HOSTILE = [
    "-rf", "--", "-", " ", "a b", "$(touch pwned)", "`touch pwned`", "; touch pwned", "'", '"', "\\", "*", "?", "[a]",
    "a\nb", "\n", "a\n", "~", "#", "é", "\udcff\udcfe", "\udcff\n",
    "%s", "\r", "\x1b[0m", "=", "\x01", "a\n\nb",
]
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.binary(min_size=1, max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"0").replace(b"/", b"_"))),
).filter(lambda name: name not in (".", ".."))
FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=["dash", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Executor:
    """One of the two kinds of host."""
    base = tmp_path_factory.mktemp("any")
    for name in ("root", "state", "tmp"):
        (base / name).mkdir()
    if request.param == "busybox":
        path = busybox_applets(base / "bin")
        return Executor((f"{path}/sh",), path, base / "state", base / "tmp", base / "root")
    return Executor(("dash",), SYSTEM, base / "state", base / "tmp", base / "root")


def _there_and_back(host: Executor, name: str, **raw: Any) -> None:
    """Do it, look again, and undo it."""
    step = step_type(name)
    params = build(step, raw, lambda kind, value: value)
    before = tree(host.cwd)

    def decide() -> Change | None:
        return step.decide(params, step.observe(params, host.run(step.probe(params))))

    change = decide()
    assert change is not None
    assert change.forward is not None
    assert change.reverse is not None
    reply = host.run(change.forward)
    assert reply.exit == 0, reply.error_text
    state = step.observe(params, host.run(step.probe(params)))
    assert step.decide(params, state) is None
    assert dict(state.facts) == dict(change.after or {})
    yielded = host.run(change.reverse)
    assert yielded.exit == 0, yielded.error_text
    assert tree(host.cwd) == before
    assert not list(host.state.iterdir())


def _fresh(host: Executor) -> Path:
    return Path(tempfile.mkdtemp(dir=host.cwd))


@FEW
@given(folder=NAMES, name=NAMES, content=st.binary(max_size=200), old=st.none() | st.binary(max_size=50))
def test_a_file_of_any_name_and_content(
        host: Executor, folder: str, name: str, content: bytes, old: bytes | None) -> None:
    above = _fresh(host) / folder
    above.mkdir()
    if old is not None and old != content:
        (above / name).write_bytes(old)
    _there_and_back(host, "file", path=str(above / name), content=plain(content))


@FEW
@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_a_folder_of_any_name(host: Executor, names: list[str]) -> None:
    _there_and_back(host, "directory", path=str(_fresh(host).joinpath(*names)))


@FEW
@given(name=NAMES, target=NAMES, old=st.none() | NAMES)
def test_a_link_of_any_name_to_anything(host: Executor, name: str, target: str, old: str | None) -> None:
    path = _fresh(host) / name
    if old is not None and old != target:
        path.symlink_to(old)
    _there_and_back(host, "link", path=str(path), target=target)


@FEW
@given(folder=NAMES, name=NAMES)
def test_anything_of_any_name_is_removed(host: Executor, folder: str, name: str) -> None:
    above = _fresh(host) / folder
    above.mkdir()
    (above / name).write_text("text")
    _there_and_back(host, "absent", path=str(above / name))
    _there_and_back(host, "absent", path=str(above), recursive=True)


@FEW
@given(name=NAMES, line=st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1),
       old=st.binary(max_size=100))
def test_a_line_in_a_file_of_any_content(host: Executor, name: str, line: str, old: bytes) -> None:
    path = _fresh(host) / name
    path.write_bytes(old + b"\n+")
    if not any(bare.rstrip(b"\r") == line.encode() for bare in path.read_bytes().split(b"\n")):
        _there_and_back(host, "lineinfile", path=str(path), line=line)
        assert path.read_bytes() == old + b"\n+"


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=st.binary(max_size=100))
def test_bytes_are_printed_as_they_are_and_words_stay_words(host: Executor, raw: bytes) -> None:
    assert host.run(Program(literal(raw))).stdout == raw
    assert host.run(Program(literal(plain(raw)))).stdout == raw
    word = plain(raw.replace(b"\0", b"0"))
    assert host.run(Program(f"printf %s {quote(word)}")).stdout == raw.replace(b"\0", b"0")
