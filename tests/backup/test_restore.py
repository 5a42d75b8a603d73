"""Restoring: it shows first, keeps what was there, puts it back, and never leaves its target."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from tests.backup.trees import grow, snapshot
from ultraplan.backup.difference import CHANGE, CREATE, REMOVE, Difference
from ultraplan.backup.errors import BackupError, NoSuchSet, Refused
from ultraplan.backup.restore import Wanted, preview, restore
from ultraplan.backup.swap import PREFIX, open_stage


def shown(backups: Backups, target: Path, *paths: Path) -> list[Difference]:
    return list(preview(backups.store, backups.open(), backups.reading,
                        Wanted(target=target, paths=[bytes(path)[1:] for path in paths])))


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{PREFIX}*"))


def test_a_preview_shows_each_difference_and_changes_nothing(backups: Backups, tree: Path) -> None:
    backups.make(tree)
    assert shown(backups, Path("/")) == []
    (tree / "etc/app.conf").write_text("port = 9090\n")
    os.utime(tree / "etc/app.conf", ns=(1, 1))
    (tree / "etc/secret").chmod(0o644)
    (tree / "etc/link").unlink()
    (tree / "etc/new").write_text("new")
    (tree / "data/two").unlink()
    (tree / "data/two").write_bytes((tree / "data/one").read_bytes())
    before = snapshot(tree)
    told = {(one.action, one.path.decode().removeprefix(str(tree)[1:] + "/")): [name for name, _, _ in one.fields]
            for one in shown(backups, Path("/"))}
    assert told == {
        (CHANGE, "data"): ["mtime"], (CHANGE, "data/two"): ["type"], (CHANGE, "etc"): ["mtime"],
        (CHANGE, "etc/app.conf"): ["content", "mtime"], (CREATE, "etc/link"): [], (REMOVE, "etc/new"): [],
        (CHANGE, "etc/secret"): ["mode"]}
    assert snapshot(tree) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
@pytest.mark.parametrize("seed", range(8))
def test_a_preview_tells_of_exactly_what_is_different(backups: Backups, tmp_path: Path, seed: int) -> None:
    """Over what lies there of another tree: after the restore, nothing is left to tell."""
    grow(tmp_path / "tree", seed)
    backups.make(tmp_path / "tree")
    subprocess.run(["rm", "-rf", str(tmp_path / "tree")], check=True)
    grow(tmp_path / "tree", seed + 100)
    there, wanted = snapshot(tmp_path / "tree"), backups.open().manifest.content.members
    told = shown(backups, Path("/"))
    assert len(there) - len([one for one in told if one.action == REMOVE]) + len(
        [one for one in told if one.action == CREATE]) == wanted
    backups.restore(Path("/"))
    assert shown(backups, Path("/")) == []


def test_what_was_there_is_kept_and_can_be_put_back(backups: Backups, tree: Path) -> None:
    backups.make(tree)
    (tree / "etc/app.conf").write_text("changed since")
    (tree / "data/extra").write_text("extra")
    later = snapshot(tree)
    done = backups.restore(Path("/"))
    assert (tree / "etc/app.conf").read_text() == "port = 8080\n"
    assert not (tree / "data/extra").exists()
    [kept] = done.preimages
    assert kept.stat().st_mode & 0o777 == 0o700
    open_stage(kept).undo()
    assert snapshot(tree) == later
    assert leftovers(tree.parent) == []


def test_only_what_is_asked_for_is_restored(backups: Backups, tree: Path) -> None:
    backups.make(tree)
    (tree / "etc/app.conf").unlink()
    (tree / "etc/secret").write_text("kept as it is")
    backups.restore(Path("/"), tree / "etc/app.conf")
    assert (tree / "etc/app.conf").read_text() == "port = 8080\n"
    assert (tree / "etc/secret").read_text() == "kept as it is"


def test_a_path_that_the_set_does_not_have_is_refused(backups: Backups, tree: Path) -> None:
    backups.make(tree)
    with pytest.raises(NoSuchSet, match="etc/nothing"):
        backups.restore(Path("/"), tree / "etc/nothing")


def test_half_of_a_pair_of_hard_links_is_refused(backups: Backups, tree: Path) -> None:
    backups.make(tree)
    with pytest.raises(Refused, match="another name"):
        backups.restore(Path("/"), tree / "data/two")


@pytest.mark.parametrize("fails", ["check", "interrupt", "third rename"])
def test_a_restore_that_fails_leaves_everything_as_it_was(
        backups: Backups, tree: Path, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backups.make(tree / "data", tree / "etc")
    (tree / "etc/app.conf").write_text("changed since")
    later = snapshot(tree)

    def check(_: Path) -> None:
        assert (tree / "etc/app.conf").read_text() == "port = 8080\n"
        raise KeyboardInterrupt if fails == "interrupt" else BackupError("the application does not start")

    if fails == "third rename":
        renames, rename = [], Path.rename

        def failing(self: Path, target: Path) -> Path:
            renames.append(self)
            if len(renames) == 3:
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((BackupError, KeyboardInterrupt, OSError)):
        backups.restore(Path("/"), check=check if fails != "third rename" else None)
    assert {key: value[:-1] for key, value in snapshot(tree).items() if key != b"."} == {
        key: value[:-1] for key, value in later.items() if key != b"."}
    assert leftovers(tree.parent) == []


def test_a_link_on_the_way_to_the_destination_is_refused(backups: Backups, tree: Path, tmp_path: Path) -> None:
    backups.make(tree)
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    (target / str(tree.parent.parent)[1:]).mkdir(parents=True)
    elsewhere.mkdir()
    (target / str(tree.parent)[1:]).symlink_to(elsewhere)
    with pytest.raises(Refused, match="is a symbolic link"):
        backups.restore(target)
    assert list(elsewhere.iterdir()) == []


def test_a_destination_that_is_a_link_is_replaced_not_followed(backups: Backups, tree: Path, tmp_path: Path) -> None:
    backups.make(tree / "etc")
    elsewhere = tmp_path / "elsewhere"
    (tree / "etc").rename(elsewhere)
    (tree / "etc").symlink_to(elsewhere)
    (elsewhere / "app.conf").write_text("not to be touched")
    backups.restore(Path("/"))
    assert not (tree / "etc").is_symlink()
    assert (elsewhere / "app.conf").read_text() == "not to be touched"


def test_a_mount_point_is_refused_with_what_to_do(backups: Backups, tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    backups.make(tree / "data")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tree / "data")], check=True)
    try:
        with pytest.raises(Refused, match="mount point"):
            backups.restore(Path("/"))
    finally:
        subprocess.run(["umount", str(tree / "data")], check=True)


def test_a_target_that_is_full_is_told_and_left_as_it_was(backups: Backups, tree: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    backups.make(tree)
    target = tmp_path / "small"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(target)], check=True)
    try:
        with pytest.raises(BackupError, match="No space left"):
            restore(backups.store, backups.open(), backups.reading, Wanted(target=target))
        assert list(target.iterdir()) == []
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_an_undo_leaves_alone_what_somebody_put_there_meanwhile(backups: Backups, tree: Path) -> None:
    backups.make(tree / "etc")
    (tree / "etc/app.conf").write_text("changed since")
    [kept] = backups.restore(Path("/")).preimages
    (tree / "etc").rename(tree / "moved")
    (tree / "etc").mkdir()
    with pytest.raises(BackupError, match="no longer what was restored"):
        open_stage(kept).undo()
    assert (kept / "old/0/app.conf").read_text() == "changed since"


def killed(backups: Backups, tree: Path, count: int, seed: int) -> None:
    """``count`` kills of a restore over two trees; each time, the folders that it left bring back what was there."""
    rng = random.Random(seed)
    (tree / "etc/app.conf").write_text("changed since")
    (tree / "data/extra").write_text("added since")
    later = without_root(tree)
    began = time.monotonic()
    for stage in backups.restore(Path("/")).preimages:
        open_stage(stage).undo()
    usual = time.monotonic() - began
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                backups.restore(Path("/"))
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.3, 1.2) * usual)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for stage in leftovers(tree):
            open_stage(stage).undo()
        assert without_root(tree) == later
        assert leftovers(tree) == []


def without_root(tree: Path) -> dict[bytes, tuple[object, ...]]:
    """The tree but for its own folder, whose time changes when something in it is renamed."""
    return {name: row for name, row in snapshot(tree).items() if name != b"."}


def test_killed_at_any_moment_a_restore_can_be_taken_back(backups: Backups, tree: Path) -> None:
    backups.make(tree / "data", tree / "etc")
    killed(backups, tree, 10, 1)


@pytest.mark.long
def test_killed_at_many_moments_a_restore_can_be_taken_back(backups: Backups, tree: Path) -> None:
    backups.make(tree / "data", tree / "etc")
    killed(backups, tree, 200, 2)
