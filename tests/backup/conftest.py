"""A store, keys, and sets in it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ultraplan.backup.catalogue import Opened, choose, newest, open_set
from ultraplan.backup.keys import KeyFile, keygen, read_keys, signing_key
from ultraplan.backup.read import Reading
from ultraplan.backup.restore import Restored, Wanted, restore
from ultraplan.backup.sources.files import LocalFiles
from ultraplan.backup.stores.local import LocalStore
from ultraplan.backup.write import Made, Order, create


@dataclass
class Backups:
    """A store in a folder with keys beside it."""

    folder: Path
    keys: Path = field(init=False)
    store: LocalStore = field(init=False)

    def __post_init__(self) -> None:
        self.keys, root = self.folder / "keys", self.folder / "store"
        keygen(self.keys, "office safe")
        root.mkdir()
        self.store = LocalStore(root)

    @property
    def recovery(self) -> KeyFile:
        return read_keys([self.keys / "recovery.key"])

    @property
    def reading(self) -> Reading:
        return Reading(identities=self.recovery.identities)

    def order(self, name: str = "box", **more: Any) -> Order:
        before = newest(self.store, name, self.recovery.signers)
        return Order(name=name, keys=read_keys([self.keys / "recovery.pub"]),
                     signing=signing_key(self.keys / "signing.key"),
                     **{"parent": before.parent if before else None, **more})

    def make(self, *paths: Path, name: str = "box", exclude: Sequence[str] = (), **more: Any) -> Made:
        return create(self.store, LocalFiles([str(path) for path in paths], exclude), self.order(name, **more))

    def open(self, which: str = "latest", name: str = "box") -> Opened:
        return open_set(self.store, choose(self.store, name, which), self.recovery.signers)

    def restore(self, target: Path, *paths: Path, which: str = "latest", **more: Any) -> Restored:
        target.mkdir(exist_ok=True)
        return restore(self.store, self.open(which), self.reading,
                       Wanted(target=target, paths=[bytes(path)[1:] for path in paths], **more))

    def folder_of(self, made: Made) -> Path:
        return self.store.root / made.manifest.name / made.manifest.set


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    (tmp_path / "backups").mkdir()
    return Backups(tmp_path / "backups")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with a little of everything."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/app.conf").write_text("port = 8080\n")
    (tree / "etc/secret").write_text("pin 4711\n")
    (tree / "etc/secret").chmod(0o600)
    (tree / "etc/link").symlink_to("app.conf")
    (tree / "data").mkdir()
    (tree / "data/one").write_bytes(bytes(range(256)) * 1000)
    (tree / "data/two").hardlink_to(tree / "data/one")
    return tree


def emptied(folder: Path) -> Path:
    """``folder``, there and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
