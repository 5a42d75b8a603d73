"""What is restored is what was backed up, in every respect; by ultraplan, and by tar, zstd and age alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from tests.backup.trees import grow, snapshot
from ultraplan.backup.read import read_set
from ultraplan.backup.restore import rehearse

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and trusted attributes need root")

SAMPLE, ALL = 25, 2000


def round_trip(backups: Backups, tmp_path: Path, seed: int) -> None:
    root = tmp_path / f"tree {seed}"
    grow(root, seed)
    before = snapshot(root)
    made = backups.make(root)
    assert made.notes == []
    assert read_set(backups.store, backups.open(), backups.reading).members == len(before)
    target = tmp_path / f"target-{seed}"
    backups.restore(target)
    assert snapshot(target / str(root)[1:]) == before
    assert snapshot(root) == before
    subprocess.run(["rm", "-rf", str(root), str(target), str(backups.store.root / "box")], check=True)


@pytest.mark.parametrize("start", range(0, SAMPLE, 5))
def test_generated_trees_are_restored_equal(backups: Backups, tmp_path: Path, start: int) -> None:
    for seed in range(start, start + 5):
        round_trip(backups, tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("start", range(SAMPLE, ALL, 25))
def test_many_generated_trees_are_restored_equal(backups: Backups, tmp_path: Path, start: int) -> None:
    for seed in range(start, start + 25):
        round_trip(backups, tmp_path, seed)


def by_hand(folder: Path, recovery_key: Path) -> Path:
    """Follow RESTORE.txt to the letter, as somebody would who has nothing else."""
    text = (folder / "RESTORE.txt").read_text()
    commands = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    script = "set -eu\n" + "\n".join(commands).replace("RECOVERY_KEY", f"'{recovery_key}'").replace("| less", "| wc -l")
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True,
                          errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert len(re.findall(r": OK$", done.stdout, re.MULTILINE)) == 8
    return folder / "restored"


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_following_restore_txt_brings_everything_back_without_ultraplan(
        backups: Backups, tmp_path: Path, seed: int) -> None:
    root = tmp_path / "tree"
    grow(root, seed)
    made = backups.make(root)
    restored = by_hand(backups.folder_of(made), backups.keys / "recovery.key")
    assert snapshot(restored / str(root)[1:]) == snapshot(root)


def test_several_roots_and_single_files_keep_their_places(backups: Backups, tree: Path, tmp_path: Path) -> None:
    backups.make(tree / "etc/app.conf", tree / "data", tree / "data/one")
    target = tmp_path / "target"
    backups.restore(target)
    got = target / str(tree)[1:]
    assert sorted(path.name for path in got.iterdir()) == ["data", "etc"]
    assert [path.name for path in (got / "etc").iterdir()] == ["app.conf"]
    assert snapshot(got / "data") == snapshot(tree / "data")


def test_a_root_whose_name_tar_could_misread_is_backed_up(backups: Backups, tmp_path: Path) -> None:
    for name in ("-C", "back\\nslash", "new\nline", "--exclude=*", "*"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    roots = [tmp_path / name for name in ("-C", "back\\nslash", "new\nline", "--exclude=*", "*")]
    backups.make(*roots)
    backups.restore(tmp_path / "target")
    for root in roots:
        assert (tmp_path / "target" / str(root)[1:] / "file").read_text() == root.name


def test_what_is_excluded_is_not_in_the_set(backups: Backups, tree: Path, tmp_path: Path) -> None:
    (tree / "data/cache").mkdir()
    (tree / "data/cache/x").write_text("x")
    (tree / "data/x.tmp").write_text("x")
    (tree / "etc/cache").write_text("kept")
    backups.make(tree, exclude=["*.tmp", f"{tree}/data/cache"])
    backups.restore(tmp_path / "target")
    got = tmp_path / "target" / str(tree)[1:]
    assert sorted(path.name for path in (got / "data").iterdir()) == ["one", "two"]
    assert (got / "etc/cache").read_text() == "kept"


def test_the_third_level_restores_and_compares_and_leaves_nothing(backups: Backups, tmp_path: Path) -> None:
    grow(tmp_path / "tree", 77)
    backups.make(tmp_path / "tree")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    seen: list[dict[bytes, tuple[object, ...]]] = []
    rehearse(backups.store, backups.open(), backups.reading, scratch,
             lambda folder: seen.append(snapshot(folder / str(tmp_path)[1:] / "tree")))
    assert seen == [snapshot(tmp_path / "tree")]
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_a_hundred_thousand_small_files(backups: Backups, tmp_path: Path) -> None:
    for number in range(100_000):
        folder = tmp_path / f"tree/{number // 1000}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}").write_text(str(number))
    backups.make(tmp_path / "tree")
    backups.restore(tmp_path / "target")
    assert snapshot(tmp_path / "target" / str(tmp_path)[1:] / "tree") == snapshot(tmp_path / "tree")
