"""Archives that try to reach out of their destination are refused, and nothing outside is touched."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.steps.cases import tree
from tests.steps.hostshell import HostShell
from ultraplan.steps.archives import UnarchiveStep
from ultraplan.steps.base import StepFailed
from ultraplan.steps.tarballs import format_of, leads_out

STEP = UnarchiveStep()
FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
OUT = "@OUT@"

EVIL: dict[str, list[tuple[str, bytes, str]]] = {
    "an absolute name": [(f"{OUT}/pwned", FILE, "")],
    "a name that goes up": [("../outside/pwned", FILE, "")],
    "a name that goes up from within": [("a/../../outside/pwned", FILE, "")],
    "a file through a link": [("way", LINK, OUT), ("way/pwned", FILE, "")],
    "a file through a relative link": [("way", LINK, "../outside"), ("way/pwned", FILE, "")],
    "a file through two links": [("a", LINK, "."), ("b", LINK, "a/../../outside"), ("b/pwned", FILE, "")],
    "an absolute link": [("way", LINK, "/etc/passwd")],
    "a link that goes up": [("a/way", LINK, "../../outside")],
    "a link that goes up after going down": [("a", LINK, "."), ("b", LINK, "a/..")],
    "a hard link to the outside": [("way", HARD, f"{OUT}/victim")],
    "a hard link that goes up": [("way", HARD, "../outside/victim")],
    "a device": [("null", tarfile.CHRTYPE, "")],
    "a pipe": [("pipe", tarfile.FIFOTYPE, "")],
}


def pack(path: Path, members: list[tuple[str, bytes, str]], outside: Path) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("first"), io.BytesIO())
        for name, kind, target in members:
            info = tarfile.TarInfo(name.replace(OUT, str(outside)))
            info.type, info.linkname, info.mode = kind, target.replace(OUT, str(outside)), 0o666
            info.devmajor, info.devminor = 1, 3
            info.size = 5 if kind == FILE else 0
            tar.addfile(info, io.BytesIO(b"pwned"))


@pytest.fixture
def outside(host: HostShell) -> Path:
    """A folder beside the root that nothing may touch."""
    folder = host.root / "outside"
    folder.mkdir()
    (folder / "victim").write_text("mine")
    (folder / "victim").chmod(0o600)
    (host.root / "app").mkdir()
    return folder


@pytest.mark.parametrize("kind", ["source", "src"])
@pytest.mark.parametrize("what", EVIL)
def test_it_is_refused_before_anything_happens(host: HostShell, outside: Path, what: str, kind: str) -> None:
    archive = host.base / "evil.tar.gz"
    pack(archive, EVIL[what], outside)
    params = host.build(STEP, dest=str(host.root / "app"), **{kind: str(archive)})
    before = tree(host.root, times=True)
    with pytest.raises(StepFailed):
        host.plan(STEP, params)
    assert tree(host.root, times=True) == before


@pytest.mark.parametrize("what", EVIL)
def test_an_archive_that_was_exchanged_after_the_plan_is_refused_as_well(
        host: HostShell, outside: Path, what: str) -> None:
    archive = host.base / "evil.tar.gz"
    pack(archive, [("good", FILE, "")], outside)
    params = host.build(STEP, dest=str(host.root / "app"), src=str(archive))
    change = host.plan(STEP, params)
    assert change is not None and change.forward is not None and change.reverse is not None
    pack(archive, EVIL[what], outside)
    before = tree(host.root)
    assert host.run(change.forward).exit != 0
    assert tree(host.root) == before
    assert host.run(change.reverse).exit == 0
    assert tree(host.root) == before


@pytest.mark.parametrize("name, target, out", [
    ("a", "b", False), ("a", "b/c", False), ("a/b", "../c", False), ("a/b", "../../c", True), ("a", "..", True),
    ("a", "/b", True), ("a/b/c", "../../d", False),
    ("a/b", "c/../d", True), ("a/b", "./../c", False), ("a", ".", False),
])
def test_where_links_lead(name: str, target: str, out: bool) -> None:
    assert leads_out(name, target) is out


@pytest.mark.parametrize("name, found", [
    ("x.tar", "tar"), ("x.tar.gz", "gz"), ("x.TGZ", "gz"), ("a.b.tar.zst", "zst"), ("x.tar.xz", "xz"),
    ("x.tbz2", "bz2"),
])
def test_formats_are_told_by_the_end_of_the_name(name: str, found: str) -> None:
    assert format_of(name) == found


@pytest.mark.parametrize("raw, path, says", [
    ({"dest": "/x"}, (), "needs `source`"),
    ({"dest": "/x", "src": "/a.tar", "source": "a.tar"}, ("src",), "exclude each other"),
    ({"dest": "/x", "src": "/a.zip"}, ("src",), "zip archives are not supported"),
    ({"dest": "/x", "source": "a.rar"}, ("source",), "does not say its format"),
])
def test_static_mistakes(raw: dict[str, Any], path: tuple[str, ...], says: str) -> None:
    (found, message), = STEP.check(raw)
    assert found == path and says in message


def test_a_host_without_the_tool_says_so(host: HostShell) -> None:
    if "applets" not in host.path:
        pytest.skip("this host has zstd")
    archive = host.root / "a.tar.zst"
    archive.write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(StepFailed, match="no zstd, which"):
        host.plan(STEP, host.build(STEP, dest=str(host.root / "app"), src=str(archive)))
