"""The step `restore`: on a host, in a plan, forward and back, killed anywhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from tests.backup.test_steps import Plans
from tests.backup.trees import grow, snapshot
from tests.conformance.transports import opened
from ultraplan.backup import placing
from ultraplan.backup.swap import PREFIX

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and trusted attributes need root")

PLAN = """\
plan: recover
hosts: localhost
steps:
  - id: data
    restore: {set: box, store: store, keys: [keys/recovery.key]}
"""
FAILS = PLAN + """\
  - id: healthy
    command: {run: "false"}
    reads_only: true
"""


@pytest.fixture
def plans(backups: Backups, capsys: pytest.CaptureFixture[str]) -> Plans:
    return Plans(backups, capsys)


def without_links(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    return {name: row[:-1] for name, row in tree.items()}


def test_what_was_lost_and_changed_comes_back_equal(plans: Plans, tmp_path: Path) -> None:
    tree = tmp_path / "it's a tree"
    grow(tree, 3)
    before = snapshot(tree)
    plans.backups.make(tree)
    subprocess.run(["rm", "-rf", str(tree)], check=True)
    grow(tree, 4)
    code, told = plans("apply", PLAN, "--yes")
    assert code == 0, told
    assert snapshot(tree) == before
    [stage] = tmp_path.glob(f"{PREFIX}*")
    assert [path.name for path in (stage / "old").iterdir()] == ["0"]


def test_a_run_that_fails_later_puts_back_what_was_there(plans: Plans, tree: Path) -> None:
    plans.backups.make(tree / "etc", tree / "data/one", tree / "data/two")
    (tree / "etc/app.conf").write_text("changed since")
    (tree / "data/one").unlink()
    before = snapshot(tree)
    code, told = plans("apply", FAILS, "--yes")
    assert code == 1, told
    after = snapshot(tree)
    assert {name: row for name, row in without_links(after).items() if name not in (b".", b"data")} == {
        name: row for name, row in without_links(before).items() if name not in (b".", b"data")}
    assert list(tree.parent.rglob(f"{PREFIX}*")) == []


def test_the_preview_shows_what_would_be_replaced_and_touches_nothing(plans: Plans, tree: Path) -> None:
    plans.backups.make(tree)
    before = snapshot(tree)
    code, told = plans("plan", PLAN)
    assert code == 0, told
    assert str(tree) in told
    assert snapshot(tree) == before


def test_a_damaged_set_never_reaches_the_host(plans: Plans, tree: Path) -> None:
    folder = plans.backups.folder_of(plans.backups.make(tree))
    data = (folder / "data.tar.zst.age").read_bytes()
    (folder / "data.tar.zst.age").write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    before = snapshot(tree)
    code, told = plans("apply", PLAN, "--yes")
    assert code == 1, told
    assert snapshot(tree) == before
    assert list(tree.parent.glob(f"{PREFIX}*")) == []


def test_a_link_on_the_way_is_refused(plans: Plans, tree: Path, tmp_path: Path) -> None:
    plans.backups.make(tree)
    target = tmp_path / "target"
    (target / str(tree.parent.parent)[1:]).mkdir(parents=True)
    (target / str(tree.parent)[1:]).symlink_to("/etc")
    plan = PLAN.replace("set: box,", f"set: box, target: {target},")
    code, told = plans("apply", plan, "--yes")
    assert (code, "symbolic link" in told) == (1, True), told


def test_parts_of_a_set_are_restored_alone_and_others_are_told(plans: Plans, tree: Path) -> None:
    plans.backups.make(tree)
    (tree / "etc/app.conf").unlink()
    (tree / "etc/secret").write_text("stays")
    part = PLAN.replace("set: box,", f"set: box, paths: ['{tree}/etc/app.conf'],")
    code, told = plans("apply", part, "--yes")
    assert code == 0, told
    assert ((tree / "etc/app.conf").read_text(), (tree / "etc/secret").read_text()) == ("port = 8080\n", "stays")
    code, told = plans("apply", PLAN.replace("set: box,", "set: box, paths: [/nothing],"), "--yes")
    assert (code, "does not have /nothing" in told) == (1, True), told


# -- the programs, on dash and busybox

NAMES = ("plain", "it's", "-rf", "$(id)", "new\nline")


@pytest.fixture(params=["dash", "busybox"])
def sh(request: pytest.FixtureRequest) -> list[str]:
    return ["/bin/dash"] if request.param == "dash" else ["/usr/bin/busybox", "sh"]


def staged(tmp_path: Path) -> tuple[placing.Place, dict[str, str]]:
    """Restored content in a stage, and what is there: of five names, three."""
    [place] = placing.places(str(tmp_path / "host"), [f"srv/{name}" for name in NAMES], "op1")
    (tmp_path / "host/srv").mkdir(parents=True)
    for name in NAMES[:3]:
        (tmp_path / "host/srv" / name).write_text("before")
    return place, dict.fromkeys(NAMES[:3], "before")


def unpacked(place: placing.Place, tmp_path: Path) -> None:
    for name in NAMES:
        file = Path(place.new, "srv", name)
        file.parent.mkdir(exist_ok=True)
        file.write_text("restored")
        os.utime(file, (1, 1))


def there(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "host/srv").iterdir() if not path.name.startswith(".")}


def run(sh: list[str], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*sh, "-c", text], capture_output=True, text=True, check=False)


def test_forward_and_back_on_every_shell(sh: list[str], tmp_path: Path) -> None:
    place, before = staged(tmp_path)
    assert run(sh, placing.look(place)).stdout.splitlines()[3:] == ["absent"] * 2
    assert run(sh, placing.prepare(place)).returncode == 0
    unpacked(place, tmp_path)
    done = run(sh, placing.swap(place))
    assert (done.returncode, done.stderr) == (0, "")
    assert there(tmp_path) == dict.fromkeys(NAMES, "restored")
    assert run(sh, placing.finish(place)).stdout == f"{place.stage}\n"
    for _ in range(2):
        back = run(sh, placing.back(place))
        assert (back.returncode, back.stderr) == (0, "")
        assert there(tmp_path) == before
    assert not Path(place.stage).exists()


def test_killed_before_any_command_it_can_be_undone_or_done_again(sh: list[str], tmp_path: Path) -> None:
    """`exit` in place of each line in turn is what a SIGKILL between two commands leaves."""
    lines = placing.swap(staged(tmp_path / "count")[0]).splitlines()
    for number in range(1, len(lines)):
        home = tmp_path / str(number)
        place, before = staged(home)
        assert run(sh, placing.prepare(place)).returncode == 0
        unpacked(place, home)
        text = "\n".join(placing.swap(place).split("\n")[:number])
        run(sh, text)
        assert run(sh, placing.prepare(place)).returncode == 0, number
        assert there(home) == before, number
        unpacked(place, home)
        assert run(sh, placing.swap(place)).returncode == 0
        assert there(home) == dict.fromkeys(NAMES, "restored")


def test_what_changed_since_the_restore_is_kept_by_an_undo(sh: list[str], tmp_path: Path) -> None:
    place, before = staged(tmp_path)
    run(sh, placing.prepare(place))
    unpacked(place, tmp_path)
    run(sh, placing.swap(place))
    (tmp_path / "host/srv/plain").write_text("written since")
    os.utime(tmp_path / "host/srv/plain", (9_000_000_000, 9_000_000_000))
    assert run(sh, placing.back(place)).returncode == 0
    assert there(tmp_path) == before
    assert Path(place.stage, "undone.0").read_text() == "written since"


def test_what_somebody_else_put_there_is_left_alone(sh: list[str], tmp_path: Path) -> None:
    place, _ = staged(tmp_path)
    run(sh, placing.prepare(place))
    unpacked(place, tmp_path)
    run(sh, placing.swap(place))
    (tmp_path / "host/srv/plain").rename(tmp_path / "moved")
    (tmp_path / "host/srv/plain").write_text("theirs")
    back = run(sh, placing.back(place))
    assert (back.returncode, "is not what was restored there" in back.stderr) == (1, True)
    assert (tmp_path / "host/srv/plain").read_text() == "theirs"
    assert Path(place.stage, "old/0").read_text() == "before"


def test_over_ssh_the_archive_is_fed_to_the_hosts_tar(plans: Plans, tree: Path, tmp_path: Path) -> None:
    """The plan's own way, over a real sshd."""
    from ultraplan.transport.streaming import exchange

    (tree / "data/large").write_bytes(os.urandom(8_000_000))
    plans.backups.make(tree)
    with opened("ssh-dash") as connection:
        from ultraplan.secrets import Secrets
        from ultraplan.shell import Program, Reply
        from ultraplan.steps.base import Context, Reader, State
        from ultraplan.steps.restoring import Restore, RestoreParams

        class Access:
            name, address, vars = "web1", "192.0.2.1", {}

            def run(self, program: Program) -> Reply:
                return connection.shell().run(program.text)

            def feed(self, program: Program, source: Reader) -> Reply:
                return exchange(connection, program.text, source=source)

        context = Context(
            host=Access(), secrets=Secrets(), preimage=tmp_path / "op7", base=plans.backups.folder,  # type: ignore[arg-type]
            wait=lambda _: None, ask=lambda *_: False, log=lambda _: None)
        target = tmp_path / "target"
        target.mkdir()
        params = RestoreParams(set="box", store="store", keys=["keys/recovery.key"], target=str(target))
        step = Restore()
        state: State = step.observe(params, context)
        assert step.decide(params, state) is not None
        outputs = step.act(params, state, context)
        assert outputs["preimages"] == []
        assert snapshot(target / str(tree)[1:]) == snapshot(tree)
