"""Archives that want to leave the target, signed by the right key: the host that made them was taken over."""
# ruff: noqa: E501 - the table reads better in long lines

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from ultraplan.backup.errors import BackupError, Damaged, Refused
from ultraplan.backup.manifest import Host, Manifest, Source, read_manifest, write_manifest
from ultraplan.backup.members import Member
from ultraplan.backup.read import read_set
from ultraplan.backup.restore import Wanted, restore
from ultraplan.backup.sources.base import Ended
from ultraplan.backup.tarstream import TarReader
from ultraplan.backup.write import create

Add = Callable[[tarfile.TarFile], None]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"", **more: object) -> Add:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size, info.mode = kind, link, len(content), 0o755
        for key, value in more.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))

    return add


def archive(*adds: Add, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for add in adds:
            add(tar)
    return out.getvalue()


TOP = member("./x", tarfile.DIRTYPE)
HOSTILE = {
    "an absolute name": archive(TOP, member("/etc/cron.d/evil", content=b"x")),
    "a name that climbs": archive(TOP, member("./x/../../evil", content=b"x")),
    "a name that only climbs": archive(TOP, member("..", tarfile.DIRTYPE)),
    "a dot in the middle": archive(TOP, member("./x/./evil", content=b"x")),
    "an empty part": archive(TOP, member("./x//evil", content=b"x")),
    "below a link": archive(TOP, member("./x/a", tarfile.SYMTYPE, "/etc"), member("./x/a/evil", content=b"x")),
    "below a link that climbs": archive(TOP, member("./x/a", tarfile.SYMTYPE, ".."), member("./x/a/b", content=b"x")),
    "a link, then a folder of its name": archive(
        TOP, member("./x/a", tarfile.SYMTYPE, "/etc"), member("./x/a", tarfile.DIRTYPE), member("./x/a/b", content=b"")),
    "a folder, then a link of its name": archive(
        TOP, member("./x/a", tarfile.DIRTYPE), member("./x/a", tarfile.SYMTYPE, "/etc"), member("./x/a/b", content=b"x")),
    "a file, then a link of its name": archive(
        TOP, member("./x/a", content=b"1"), member("./x/a", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link to outside": archive(TOP, member("./x/a", tarfile.LNKTYPE, "/etc/passwd")),
    "a hard link that climbs": archive(TOP, member("./x/a", tarfile.LNKTYPE, "./x/../../../etc/passwd")),
    "a hard link through a link": archive(
        TOP, member("./x/a", tarfile.SYMTYPE, "/etc"), member("./x/b", tarfile.LNKTYPE, "./x/a/passwd")),
    "a hard link to what comes later": archive(
        TOP, member("./x/a", tarfile.LNKTYPE, "./x/b"), member("./x/b", content=b"x")),
    "a hard link to a folder": archive(
        TOP, member("./x/a", tarfile.DIRTYPE), member("./x/b", tarfile.LNKTYPE, "./x/a")),
    "below a file": archive(TOP, member("./x/a", content=b"x"), member("./x/a/b", content=b"x")),
    "outside of the roots": archive(TOP, member("./y", content=b"x")),
    "beside the root, before it": archive(member("./w", content=b"x"), TOP),
    "out of order": archive(TOP, member("./x/b", content=b"x"), member("./x/a", content=b"x")),
    "twice the same": archive(TOP, member("./x/a", content=b"x"), member("./x/a", content=b"y")),
    "no root": archive(member("./y", tarfile.DIRTYPE)),
    "nothing": archive(),
    "in GNU format": archive(TOP, member("./x/" + "a" * 120, content=b"x"), form=tarfile.GNU_FORMAT),
    "a name in an extended header": archive(TOP, member("./x/a", content=b"x", pax_headers={"path": "/etc/passwd"})),
    "a link in an extended header": archive(
        TOP, member("./x/a", tarfile.LNKTYPE, "./x", pax_headers={"linkpath": "/etc/passwd"})),
    "a sparse name that leads out": archive(TOP, member("./x/a", content=b"1\n0\n1\n".ljust(513, b"\0"), pax_headers={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "/etc/passwd", "GNU.sparse.realsize": "1"})),
    "an old sparse format": archive(TOP, member("./x/a", content=b"x", pax_headers={"GNU.sparse.size": "1"})),
    "an unknown keyword": archive(TOP, member("./x/a", content=b"x", pax_headers={"SCHILY.fflags": "x"})),
    "a global header": archive(TOP)[:0] + tarfile.TarInfo.create_pax_global_header({"path": "/etc/passwd"}) + archive(TOP),
    "a contiguous file": archive(TOP, member("./x/a", tarfile.CONTTYPE, content=b"x")),
    "something behind the end": archive(TOP) + archive(member("./x/a", content=b"x")),
    "a folder with content": archive(TOP, member("./x/a", tarfile.DIRTYPE, content=b"x" * 512)),
    "a time that is none": archive(TOP, member("./x/a", content=b"x", pax_headers={"mtime": "1e99"})),
}


class Canned:
    """A source that gives an archive as it is."""

    host, roots, names, afterwards = Host("taken", "taken"), (b"x",), ("taken",), ""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)
        self.read, self.close = self._content.read, self._content.close

    def describe(self) -> Source:
        return Source("files")

    def tools(self) -> dict[str, str]:
        return {}

    def open(self) -> Canned:
        return self

    def finish(self) -> Ended:
        return Ended()


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_nothing_is_written(
        backups: Backups, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signer is trusted and all digests are right: a set made by a program without our checks."""
    target = tmp_path / "target"
    target.mkdir()
    with monkeypatch.context() as trusting:
        trusting.setattr("ultraplan.backup.write.TarReader", Trusting)
        trusting.setattr("tests.backup.test_hostile.LENIENT", content)
        create(backups.store, Canned(content), backups.order())
    with pytest.raises(Damaged):
        restore(backups.store, backups.open(), backups.reading, Wanted(target=target, allow_devices=True))
    assert list(target.iterdir()) == []
    assert not (tmp_path / "evil").exists()


LENIENT = b""


class Trusting:
    """Stands for a program that lists whatever it finds. What it cannot list is not what is tested here."""

    def __init__(self, roots: object, on_member: Callable[[Member], None]) -> None:
        self._on_member, self.total = on_member, 0

    def feed(self, data: bytes) -> None:
        self.total += len(data)

    def finish(self) -> None:
        kinds = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink"}
        with tarfile.open(fileobj=io.BytesIO(LENIENT)) as tar:
            for info in tar:
                import hashlib

                kind = kinds.get(info.type, "file")
                content = tar.extractfile(info) if kind == "file" else None
                self._on_member(Member(
                    info.name.removeprefix("./").encode(), kind, info.mode, info.uid, info.gid, b"", b"", 0,
                    info.size if kind == "file" else 0,
                    hashlib.sha256(content.read()).hexdigest() if content else None,
                    info.linkname.removeprefix("./").encode() if info.linkname else None))


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_set_is_made_of_a_hostile_archive(backups: Backups, content: bytes) -> None:
    try:
        create(backups.store, Canned(content), backups.order())
    except Damaged:
        assert list(backups.store.list()) == []
    else:  # links are held to the list only when all of it is known
        with pytest.raises(Damaged):
            read_set(backups.store, backups.open(), backups.reading)


def test_an_archive_as_tar_makes_it_is_not_refused() -> None:
    seen: list[Member] = []
    reader = TarReader([b"x"], seen.append)
    for byte in archive(TOP, member("./x/a", content=b"y" * 600), member("./x/b", tarfile.LNKTYPE, "./x/a")):
        reader.feed(bytes([byte]))
    reader.finish()
    assert [(one.path, one.kind, one.size) for one in seen] == [
        (b"x", "dir", 0), (b"x/a", "file", 600), (b"x/b", "hardlink", 0)]


def test_device_files_are_restored_only_when_asked_for(backups: Backups, tmp_path: Path) -> None:
    content = archive(TOP, member("./x/sda", tarfile.BLKTYPE, devmajor=7, devminor=200))
    create(backups.store, Canned(content), backups.order())
    (tmp_path / "target").mkdir()
    with pytest.raises(Refused, match="1 device file"):
        backups.restore(tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def broken(**changes: object) -> Callable[[Manifest], bytes]:
    import msgspec

    return lambda manifest: write_manifest(msgspec.structs.replace(manifest, **changes))


MANIFESTS: dict[str, Callable[[Manifest], bytes]] = {
    "of a later version": broken(version=2),
    "of another format": broken(format="ultraplan/plan"),
    "of another set": broken(set="20200101T000000.000000Z-aaaaaaaa"),
    "of another name": broken(name="other"),
    "without roots": broken(roots=[]),
    "whose root climbs": broken(roots=["../x"]),
    "with a time that is none": broken(started="yesterday"),
    "without objects": broken(objects={}),
    "that is no JSON": lambda _: b"{",
    "that is a list": lambda _: b"[]",
    "that nests without end": lambda _: b"[" * 100_000,
    "that is huge": lambda good: write_manifest(good) + b" " * (1 << 20),
    "with a negative size": lambda good: write_manifest(good).replace(b'"members": ', b'"members": -'),
    "that is not UTF-8": lambda good: write_manifest(good).replace(b"box", b"\xff\xfe\xfd"),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_hostile_manifest_is_refused_although_it_is_signed(
        backups: Backups, tree: Path, tmp_path: Path, change: Callable[[Manifest], bytes]) -> None:
    import hashlib

    folder = backups.folder_of(backups.make(tree))
    signing = backups.order().signing
    content = change(read_manifest((folder / "manifest.json").read_bytes()))
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.json.sig").write_bytes(signing.sign(content))
    rows = (folder / "COMMIT").read_text().splitlines()
    (folder / "COMMIT").write_text("".join(
        f"{hashlib.sha256((folder / row[66:]).read_bytes()).hexdigest()}  {row[66:]}\n" for row in rows))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BackupError):
        backups.restore(target)
    assert list(target.iterdir()) == []
