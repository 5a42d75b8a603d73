"""Making a set: all of it or nothing; what changed meanwhile is told; keys that would be lost with the host."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from ultraplan.backup.catalogue import choose, find
from ultraplan.backup.errors import BackupError, Refused, SourceFailed, StoreError
from ultraplan.backup.keys import KeyFile, Recipient, keygen, read_keys, recipients_for, signing_key
from ultraplan.backup.pipes import Limit
from ultraplan.backup.read import listed, read_set
from ultraplan.backup.sources.files import LocalFiles, roots_of
from ultraplan.backup.write import create


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_manifest_says_what_was_done(backups: Backups, tree: Path) -> None:
    first = backups.make(tree)
    second = backups.make(tree).manifest
    assert second.parent is not None
    assert (second.parent.set, second.parent.manifest_sha256) == (first.manifest.set, first.manifest_sha256)
    assert second.roots == [str(tree)[1:]]
    assert "GNU tar" in second.tools["tar"]
    assert second.content.files == 4
    assert first.manifest.parent is None


def test_neither_names_nor_digests_of_files_are_readable_in_the_store(backups: Backups, tree: Path) -> None:
    folder = backups.folder_of(backups.make(tree))
    for file in folder.iterdir():
        assert b"app.conf" not in file.read_bytes(), file
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())


def test_a_file_that_changes_while_it_is_read_is_told(backups: Backups, tree: Path) -> None:
    """A log that grows all the time, and is large enough for tar to be at it for a while."""
    busy = tree / "data/log"
    busy.write_bytes(os.urandom(8 << 20))
    stop = threading.Event()

    def grow() -> None:
        with busy.open("ab") as file:
            while not stop.wait(0.001):
                file.write(b"line\n")
                file.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        made = backups.make(tree)
    finally:
        stop.set()
        thread.join()
    assert [(note.path.decode(), note.text) for note in made.notes] == [
        (str(busy)[1:], "file changed as we read it")]
    opened = backups.open()
    assert opened.manifest.content.changed == 1
    assert opened.manifest.consistency.kind == "interval"
    assert list(listed(backups.store, opened, backups.reading))[-1] == made.notes[0]
    read_set(backups.store, opened, backups.reading)


def test_what_cannot_be_read_makes_no_set(backups: Backups, tree: Path) -> None:
    with pytest.raises(SourceFailed, match="No such file"):
        backups.make(tree / "nothing")
    if os.geteuid() == 0:
        (tree / "proc").mkdir()
        subprocess.run(["mount", "--bind", "/proc/self", str(tree / "proc")], check=True)
        try:
            with pytest.raises(SourceFailed, match="not everything could be read"):
                backups.make(tree)
        finally:
            subprocess.run(["umount", str(tree / "proc")], check=True)
    assert list(backups.store.list()) == []
    assert files_in(backups.store.root) == []


def test_a_root_that_is_a_link_is_refused(backups: Backups, tree: Path) -> None:
    (tree.parent / "alias").symlink_to(tree)
    with pytest.raises(Refused, match="symbolic link"):
        backups.make(tree.parent / "alias")


@pytest.mark.parametrize("path", ["relative", "", "/a/../b", "//double", "/a/\udcff"])
def test_roots_are_plain_absolute_paths(path: str) -> None:
    with pytest.raises(Refused):
        roots_of([path])


def test_roots_inside_others_are_part_of_them() -> None:
    assert roots_of(["/b", "/a/b", "/a", "/a-b", "/a/"]) == (b"a", b"a-b", b"b")
    assert roots_of(["/a", "/"]) == (b".",)


# -- keys


def test_a_key_that_only_the_backed_up_host_has_is_refused(backups: Backups, tree: Path, tmp_path: Path) -> None:
    keygen(tmp_path / "here", os.uname().nodename.upper())
    here = read_keys([tmp_path / "here/recovery.pub"])
    with pytest.raises(Refused, match="lost together"):
        recipients_for(here, LocalFiles([str(tree)]).names)
    both = read_keys([tmp_path / "here/recovery.pub", backups.keys / "recovery.pub"])
    assert len(recipients_for(both, LocalFiles([str(tree)]).names)) == 2
    with pytest.raises(Refused, match="no recipient"):
        recipients_for(KeyFile((), ()), ["h"])


def test_every_recipient_can_read_alone(backups: Backups, tree: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from ultraplan.backup.read import Reading

    keygen(tmp_path / "second", "bank")
    both = read_keys([tmp_path / "second/recovery.pub", backups.keys / "recovery.pub"])
    create(backups.store, LocalFiles([str(tree)]), replace(backups.order(), keys=both))
    for folder in (tmp_path / "second", backups.keys):
        keys = read_keys([folder / "recovery.key"])
        read_set(backups.store, backups.open(), Reading(identities=keys.identities))


def test_key_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    made = keygen(tmp_path / "keys", "safe")
    assert [file.stat().st_mode & 0o777 for file in made] == [0o600] * 3
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    with pytest.raises(Refused, match="never overwritten"):
        keygen(tmp_path / "keys", "safe")
    keys = read_keys([tmp_path / "keys/recovery.key"])
    assert "AGE-SECRET-KEY" not in repr(keys)
    recipient = keys_of(tmp_path / "keys/recovery.key")
    assert read_keys([tmp_path / "keys/recovery.pub"]).recipients == (Recipient(recipient, "safe"),)


def keys_of(file: Path) -> str:
    """The recipient, as age itself tells it from the identity."""
    done = subprocess.run(["age-keygen", "-y", str(file)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_signing_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keygen(tmp_path / "keys", "safe")
    (tmp_path / "keys/signing.key").chmod(0o640)
    with pytest.raises(Refused, match="others may read"):
        signing_key(tmp_path / "keys/signing.key")


WRONG = {
    "a recipient without its place": f"age1{'q' * 58}\n", "a password": "hunter2\n",
    "a PEM file": "-----BEGIN X-----\n",
    "a signer that is none": "# signer: AAAA\n", "a signer that is no base64": "# signer: A\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_key_file_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(BackupError, match=r"file:1: "):
        read_keys([tmp_path / "file"])


# -- failures on the way


class Failing:
    """A store that fails at its N-th object, in the middle of it."""

    def __init__(self, inner: object, at: int) -> None:
        self._inner, self._left = inner, at

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def put(self, key: str, source: object, *, exclusive: bool = False) -> None:
        self._left -= 1
        if self._left < 0:
            source.read(10)  # type: ignore[attr-defined]
            raise StoreError("the store is gone")
        self._inner.put(key, source, exclusive=exclusive)  # type: ignore[attr-defined]


@pytest.mark.parametrize("at", range(6))
def test_a_store_that_fails_at_any_object_leaves_nothing(backups: Backups, tree: Path, at: int) -> None:
    (tree / "data/large").write_bytes(os.urandom(10 << 20))
    with pytest.raises(StoreError, match="the store is gone"):
        create(Failing(backups.store, at), LocalFiles([str(tree)]), backups.order())  # type: ignore[arg-type]
    assert files_in(backups.store.root) == []


@pytest.mark.parametrize("size", [4, 64, 400, 1000])
def test_a_store_that_is_full_leaves_nothing(backups: Backups, tree: Path, size: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    (tree / "data/large").write_bytes(os.urandom(1 << 20))
    root = backups.store.root
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(root)], check=True)
    try:
        with pytest.raises(StoreError, match="No space left"):
            backups.make(tree)
        assert files_in(root) == []
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_set_is_not_committed_when_a_part_of_it_went_meanwhile(backups: Backups, tree: Path) -> None:
    put = backups.store.put

    def losing(key: str, source: object, *, exclusive: bool = False) -> None:
        put(key, source, exclusive=exclusive)  # type: ignore[arg-type]
        if key.endswith("manifest.json.sig"):
            (backups.store.root / key).with_name("data.tar.zst.age").unlink()

    backups.store.put = losing  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"data\.tar\.zst\.age .* is not there"):
        backups.make(tree)
    assert find(backups.store) == ([], [])


def test_an_interrupt_leaves_nothing_visible(backups: Backups, tree: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(20 << 20))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backups.make(tree, stored=stop)
    assert files_in(backups.store.root) == []
    left = subprocess.run(["pgrep", "-P", str(os.getpid()), "tar"], capture_output=True, check=False)
    assert left.stdout == b""


def test_a_limit_is_held(backups: Backups, tree: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(1 << 20))
    began = time.monotonic()
    backups.make(tree, limit=Limit(1 << 20))
    assert time.monotonic() - began > 0.9


def forked(backups: Backups, tree: Path) -> int:
    """A process of its own that makes one set after the other; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            while True:
                backups.make(tree)
        finally:
            os._exit(1)
    return pid


def killed(backups: Backups, tree: Path, count: int, seed: int) -> None:
    """``count`` kills, each at another moment of a backup or between two; every set that is visible is read whole."""
    rng = random.Random(seed)
    began = time.monotonic()
    committed = {backups.make(tree).manifest.set}
    usual = time.monotonic() - began
    for _ in range(count):
        child = forked(backups, tree)
        time.sleep(rng.uniform(0.0, 2.5 * usual))
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        sets, _ = find(backups.store)
        names = {one.set for one in sets}
        assert committed <= names, "a committed set was lost"
        for name in names - committed:
            read_set(backups.store, backups.open(name), backups.reading)
        committed = names
    assert choose(backups.store, "box").set == max(committed)


def test_killed_at_any_moment_what_is_visible_is_whole(backups: Backups, tree: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(5 << 20))
    killed(backups, tree, 12, 1)


@pytest.mark.long
def test_killed_at_many_moments_what_is_visible_is_whole(backups: Backups, tree: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(5 << 20))
    killed(backups, tree, 200, 2)


def test_what_a_killed_put_left_is_swept(backups: Backups, tree: Path) -> None:
    left = backups.store.root / "box/20200101T000000.000000Z-00000000"
    left.mkdir(parents=True)
    (left / ".part-0123456789abcdef").write_bytes(b"x")
    assert list(backups.store.list()) == []
    assert backups.store.sweep(3600) == 0
    assert backups.store.sweep(0) == 1
    assert not (backups.store.root / "box").exists()


def test_a_store_whose_folder_is_gone_is_told_and_not_made(backups: Backups, tree: Path) -> None:
    """A disk that is not mounted: writing into its mount point would fill the wrong one."""
    backups.store.root.rmdir()
    with pytest.raises(StoreError, match=r"No such file|no such folder"):
        backups.store.put("a/b", io.BytesIO(b"x"))
    assert not backups.store.root.exists()
