"""`fetch` brings files and trees of a host to the controller, and can take back what it wrote."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.steps.cases import tree
from tests.steps.hostshell import HostShell
from ultraplan.secrets import Secrets
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import Change, Context, StepFailed
from ultraplan.steps.params import build
from ultraplan.steps.trees import FetchStep

STEP = FetchStep()


class Access:
    """`HostAccess` of a host shell; ``asked`` counts the trips."""

    def __init__(self, host: HostShell, name: str) -> None:
        self.name, self.address, self.vars = name, "127.0.0.1", {}
        self.host, self.asked = host, 0
        self.before_download: Callable[[], None] = lambda: None

    def run(self, program: Program) -> Reply:
        self.asked += 1
        return self.host.run(program)

    def download(self, path: str, to: Path) -> None:
        self.asked += 1
        self.before_download()
        shutil.copyfile(path, to)

    def upload(self, source: Path, path: str) -> None:
        raise AssertionError("fetch writes nothing to a host")


class Fetching:
    """One `fetch` on one host, with the controller's folder ``base``."""

    def __init__(self, host: HostShell, tmp_path: Path, name: str, raw: Mapping[str, Any]) -> None:
        self.access = Access(host, name)
        self.base = tmp_path / "controller"
        self.base.mkdir(exist_ok=True)
        self.context = Context(
            host=self.access, secrets=Secrets(), preimage=tmp_path / "preimages" / "op", base=self.base,
            wait=lambda seconds: None, ask=lambda question, deadline: False, log=lambda line: None)
        self.params = build(STEP, raw, lambda kind, name: None)

    def plan(self) -> Change | None:
        return STEP.decide(self.params, STEP.observe(self.params, self.context))

    def apply(self) -> Mapping[str, Any]:
        state = STEP.observe(self.params, self.context)
        change = STEP.decide(self.params, state)
        assert change is not None
        outputs = STEP.act(self.params, state, self.context)
        after = STEP.observe(self.params, self.context)
        assert STEP.decide(self.params, after) is None, "the step is not idempotent"
        assert change.after is None or dict(after.facts) == dict(change.after)
        assert outputs.keys() <= set(STEP.outputs_doc)
        return outputs

    def undo(self) -> None:
        STEP.undo(self.params, STEP.observe(self.params, self.context), self.context)


Start = Callable[..., Fetching]


@pytest.fixture
def start(host: HostShell, tmp_path: Path) -> Start:
    def make(name: str = "web1", **raw: Any) -> Fetching:
        return Fetching(host, tmp_path, name, {"path": str(host.root / "data"), "to": "collected", **raw})

    return make


@pytest.fixture
def data(host: HostShell) -> Path:
    """A tree on the host, with a large file, many small ones, odd names and a link."""
    root = host.root / "data"
    (root / "-rf" / "it's\n$(touch pwned)").mkdir(parents=True)
    (root / "large").write_bytes(bytes(range(256)) * 1000)
    (root / "empty").touch()
    for number in range(30):
        (root / "-rf" / f"small {number}\n").write_text(str(number) * 100)
    (root / "-rf" / "it's\n$(touch pwned)" / "é").write_text("x")
    (root / "-rf" / "link").symlink_to("../large")
    (root / "large").chmod(0o777)
    return root


def contents(root: Path) -> dict[str, Any]:
    return {name: row[3:4] for name, row in tree(root).items()}


def test_a_file_goes_to_a_folder_of_its_host(start: Start, host: HostShell) -> None:
    (host.root / "data").write_text("x\n")
    fetching = start()
    outputs = fetching.apply()
    place = fetching.base / "collected" / "web1" / "data"
    assert place.read_text() == "x\n"
    assert outputs["path"] == str(place) and outputs["files"] == 1 and outputs["sha256"].startswith("73cb3858a687")
    assert [oct(path.stat().st_mode & 0o777) for path in (place, place.parent, place.parent.parent)] == [
        "0o600", "0o700", "0o700"]


def test_a_tree_comes_whole_whatever_its_names_hold(start: Start, data: Path, host: HostShell) -> None:
    fetching = start(to=str(host.base / "abs"), flat=True)
    before = tree(data, times=True)
    outputs = fetching.apply()
    assert contents(host.base / "abs") == contents(data)
    assert outputs["files"] == 33
    assert not list(host.root.rglob("pwned"))
    assert tree(data, times=True) == before


def test_small_files_come_together(start: Start, data: Path) -> None:
    fetching = start()
    fetching.apply()
    assert fetching.access.asked < 10


def test_only_what_differs_is_fetched_and_a_second_time_nothing(start: Start, data: Path) -> None:
    fetching = start()
    fetching.apply()
    (data / "empty").write_text("no more")
    change = fetching.plan()
    assert change is not None and [diff.field for diff in change.diff] == ["empty"]  # type: ignore[union-attr]
    fetching.apply()
    assert fetching.plan() is None


def test_what_was_there_before_comes_back(start: Start, data: Path) -> None:
    fetching = start(flat=True)
    place = fetching.base / "collected"
    (place / "-rf").mkdir(parents=True)
    (place / "large").write_text("old")
    (place / "large").chmod(0o640)
    (place / "-rf" / "link").symlink_to("elsewhere")
    (place / "foreign").write_text("foreign")
    before = tree(fetching.base)
    fetching.apply()
    assert (place / "foreign").exists()
    fetching.undo()
    assert tree(fetching.base) == before
    fetching.undo()
    assert tree(fetching.base) == before


def test_nothing_was_there_and_nothing_stays(start: Start, data: Path) -> None:
    fetching = start()
    fetching.apply()
    fetching.undo()
    assert list(fetching.base.iterdir()) == []


def test_a_fetched_file_that_somebody_changed_is_not_taken_away(start: Start, data: Path) -> None:
    fetching = start()
    fetching.apply()
    place = fetching.base / "collected/web1/data/empty"
    place.write_text("mine now")
    with pytest.raises(StepFailed, match="changed after it was fetched"):
        fetching.undo()
    assert place.read_text() == "mine now"


def test_killed_anywhere_it_can_go_on_or_go_back(start: Start, data: Path) -> None:
    number, killed = 0, True
    while killed:
        number += 3
        fetching = start(flat=True)
        place = fetching.base / "collected"
        place.mkdir()
        (place / "large").write_text("old")
        before = tree(fetching.base)
        killed = _killed(fetching, number)
        if number % 2:
            if fetching.plan() is not None:
                fetching.apply()
            assert contents(place) == contents(data)
        fetching.undo()
        assert tree(fetching.base) == before
        shutil.rmtree(place)
    assert number > 30


def _killed(fetching: Fetching, after: int) -> bool:
    """Whether `act`, in a process of its own, was killed before its ``after``th rename."""
    child = os.fork()
    if child == 0:
        real, seen = Path.replace, 0

        def replace(self: Path, target: Any) -> Path:
            nonlocal seen
            seen += 1
            if seen == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)

        Path.replace = replace  # type: ignore[method-assign]
        STEP.act(fetching.params, STEP.observe(fetching.params, fetching.context), fetching.context)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_missing_file_fails_or_not_as_asked(start: Start) -> None:
    change = start().plan()
    assert change is not None and "not there yet" in change.summary
    fetching = start()
    with pytest.raises(StepFailed, match="is not there"):
        STEP.act(fetching.params, STEP.observe(fetching.params, fetching.context), fetching.context)
    assert start(fail_on_missing=False).plan() is None


def test_links_that_lead_out_are_refused_unless_excluded(start: Start, data: Path) -> None:
    (data / "out").symlink_to("/etc/passwd")
    with pytest.raises(StepFailed, match="leads out of what is fetched"):
        start().plan()
    fetching = start(exclude=["out"])
    fetching.apply()
    assert not (fetching.base / "collected/web1/data/out").is_symlink()


def test_a_file_that_changes_meanwhile_is_said(start: Start, data: Path) -> None:
    fetching = start()
    fetching.access.before_download = lambda: (data / "large").write_text("changed") and None
    with pytest.raises(StepFailed, match="large changed while it was fetched"):
        STEP.act(fetching.params, STEP.observe(fetching.params, fetching.context), fetching.context)
    assert not (fetching.base / "collected/web1/data/large").exists()
    assert not list(fetching.base.rglob(".ultraplan-*"))


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../x", "it's $(x)"])
def test_a_hosts_name_leads_nowhere(start: Start, data: Path, name: str) -> None:
    fetching = start(name=name)
    fetching.apply()
    place, = (fetching.base / "collected").iterdir()
    assert (place / "data" / "large").exists()
    assert [path.name for path in fetching.base.iterdir()] == ["collected"]


@pytest.mark.parametrize("told", [b"../x", b"a/../../x", b"link/x", b"nowhere/x"])
def test_a_host_that_tells_of_names_elsewhere_is_not_believed(start: Start, told: bytes) -> None:
    fetching = start()
    rows = [b"41ed 0 0 1 root//root//.//data", b"a1ff 0 0 1 root//root//.//data/link",
            b"81a4 0 0 1 root//root//.//data/" + told]
    answer = b"\n//stat\n" + b"\n".join(rows) + b"\n\n//link\n.//data/link\0.\0"
    fetching.access.run = lambda program: Reply(0, answer)  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="which cannot be"):
        fetching.plan()


def test_nothing_is_written_through_a_link_of_the_controller(start: Start, data: Path, tmp_path: Path) -> None:
    fetching = start(flat=True)
    (tmp_path / "elsewhere").mkdir()
    (fetching.base / "collected").mkdir()
    (fetching.base / "collected" / "-rf").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StepFailed, match="symbolic link"):
        STEP.act(fetching.params, STEP.observe(fetching.params, fetching.context), fetching.context)
    assert list((tmp_path / "elsewhere").iterdir()) == []
