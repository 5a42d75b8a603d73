"""A byte flipped anywhere, or anything cut off: found before the target is touched."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from ultraplan.backup.errors import BackupError, Damaged, NoSuchSet, Untrusted
from ultraplan.backup.keys import keygen, read_keys
from ultraplan.backup.names import WHOLE
from ultraplan.backup.read import Reading, read_set
from ultraplan.backup.restore import Wanted, restore

OBJECTS = (*WHOLE, "COMMIT")


@pytest.fixture
def whole(backups: Backups, tree: Path) -> Path:
    return backups.folder_of(backups.make(tree))


def refused(backups: Backups, target: Path) -> str:
    """Restoring fails and leaves the target empty; the message."""
    target.mkdir(exist_ok=True)
    with pytest.raises(BackupError) as caught:
        backups.restore(target)
    assert isinstance(caught.value, Damaged | Untrusted | NoSuchSet), caught.value
    assert list(target.iterdir()) == []
    return str(caught.value)


def flips(backups: Backups, folder: Path, target: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(count):
        file = folder / OBJECTS[number % len(OBJECTS)]
        good = file.read_bytes()
        at = rng.randrange(len(good))
        file.write_bytes(good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1:])
        refused(backups, target)
        file.write_bytes(good)
    backups.restore(target)


def cuts(backups: Backups, folder: Path, target: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(count):
        file = folder / OBJECTS[number % len(OBJECTS)]
        good = file.read_bytes()
        file.write_bytes(good[:rng.randrange(len(good))])
        refused(backups, target)
        file.write_bytes(good)
    backups.restore(target)


def test_every_flipped_byte_is_found_before_the_target_is_touched(
        backups: Backups, whole: Path, tmp_path: Path) -> None:
    flips(backups, whole, tmp_path / "target", 60, 1)


def test_every_truncation_is_found_before_the_target_is_touched(backups: Backups, whole: Path, tmp_path: Path) -> None:
    cuts(backups, whole, tmp_path / "target", 30, 2)


@pytest.mark.long
def test_a_thousand_flips_and_two_hundred_truncations(backups: Backups, whole: Path, tmp_path: Path) -> None:
    flips(backups, whole, tmp_path / "target", 1000, 3)
    shutil.rmtree(tmp_path / "target")
    cuts(backups, whole, tmp_path / "target", 200, 4)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_missing_object_is_found(backups: Backups, whole: Path, tmp_path: Path, name: str) -> None:
    (whole / name).unlink()
    refused(backups, tmp_path / "target")


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_with_something_behind_it_is_found(backups: Backups, whole: Path, tmp_path: Path, name: str) -> None:
    with (whole / name).open("ab") as file:
        file.write(b"\0")
    refused(backups, tmp_path / "target")


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_of_another_set_is_found(backups: Backups, tree: Path, tmp_path: Path, name: str) -> None:
    first = backups.folder_of(backups.make(tree))
    (tree / "etc/app.conf").write_text("port = 9090\n")
    second = backups.folder_of(backups.make(tree))
    shutil.copy(first / name, second / name)
    refused(backups, tmp_path / "target")


def test_a_set_under_another_name_is_refused(backups: Backups, whole: Path, tmp_path: Path) -> None:
    """An old set brought back as the newest: its signature is right, its name is not."""
    whole.rename(whole.with_name("29991231T235959.000000Z-00000000"))
    assert "somebody has put it there" in refused(backups, tmp_path / "target")


def test_a_forged_set_is_refused(backups: Backups, tree: Path, tmp_path: Path) -> None:
    """Somebody who has the public recipient and can write to the store, but not the signing key."""
    theirs = tmp_path / "theirs"
    keygen(theirs, "elsewhere")
    (backups.keys / "signing.key").rename(tmp_path / "ours")
    shutil.copy(theirs / "signing.key", backups.keys / "signing.key")
    backups.make(tree)
    assert "not signed by any key that is trusted" in refused(backups, tmp_path / "target")


def test_a_wrong_identity_is_told_and_nothing_is_written(backups: Backups, whole: Path, tmp_path: Path) -> None:
    theirs, target = tmp_path / "theirs", tmp_path / "target"
    keygen(theirs, "elsewhere")
    target.mkdir()
    wrong = Reading(identities=read_keys([theirs / "recovery.key"]).identities)
    with pytest.raises(Untrusted, match="none of the identities fits"):
        restore(backups.store, backups.open(), wrong, Wanted(target=target))
    assert list(target.iterdir()) == []


def test_content_that_changes_between_the_two_readings_never_reaches_tar(
        backups: Backups, tree: Path, tmp_path: Path) -> None:
    """A store that shows a good set to the check and another one to the restore."""
    good = backups.folder_of(backups.make(tree))
    (tree / "etc/app.conf").write_text("evil = 1\n")
    bad = backups.folder_of(backups.make(tree, name="other"))
    opened, target = backups.open(), tmp_path / "target"
    target.mkdir()
    readings = []
    get = backups.store.get

    def two_faced(key: str, sink: object) -> None:
        if key.endswith("data.tar.zst.age"):
            readings.append(key)
            if len(readings) == 2:
                key = f"other/{bad.name}/data.tar.zst.age"
        get(key, sink)  # type: ignore[arg-type]

    backups.store.get = two_faced  # type: ignore[method-assign]
    with pytest.raises(Damaged, match=r"not what it was a moment ago|longer than"):
        restore(backups.store, opened, backups.reading, Wanted(target=target))
    assert len(readings) == 2
    assert list(target.iterdir()) == []
    assert good.is_dir()


def test_reading_all_tells_nothing_of_a_whole_set(backups: Backups, whole: Path) -> None:
    checked = read_set(backups.store, backups.open(), backups.reading)
    assert (checked.members, checked.files, checked.bytes) == (8, 4, 12 + 9 + 256_000)
