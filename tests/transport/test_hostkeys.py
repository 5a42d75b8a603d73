"""Which lines of a known_hosts file are about a host: OpenSSH's own ssh-keygen -F is the judge."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from tests.transport.sshd import make_key
from ultraplan.transport.base import HostKeyMismatch
from ultraplan.transport.hostkeys import KnownHosts, fingerprint, names_of

PATTERNS = [
    "box", "box,10.0.0.7", "*.example.org", "!bad.example.org,*.example.org", "b?x", "[box]:2222", "[10.0.0.7]:2222",
    "BOX", "fe80::1", "[fe80::1]:2222", "*", "other", "[box]:22", "[b*]:2222",
]
NAMES = ["box", "10.0.0.7", "good.example.org", "bad.example.org", "[box]:2222", "[10.0.0.7]:2222", "bx", "fe80::1",
         "[fe80::1]:2222", "bax", "o", "[bad]:2222"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    path = make_key(tmp_path_factory.mktemp("key") / "key")
    kind, text = Path(f"{path}.pub").read_text().split()[:2]
    return kind, base64.b64decode(text)


def file_of(folder: Path, key: tuple[str, bytes], *fields: str) -> Path:
    file = folder / "known_hosts"
    file.write_text("# a comment\n\n" + "".join(
        f"{field} {key[0]} {base64.b64encode(key[1]).decode()} comment\n" for field in fields))
    return file


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_the_same_lines_match_as_for_openssh(tmp_path: Path, key: tuple[str, bytes], hashed: bool) -> None:
    for pattern in PATTERNS:
        if hashed and ("*" in pattern or "?" in pattern):
            continue
        file = file_of(tmp_path, key, pattern)
        if hashed:
            subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
        for name in NAMES:
            theirs = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, check=False)
            ours = bool(KnownHosts((file,)).entries([name.lower()]))
            assert ours == (theirs.returncode == 0), f"{name} by {pattern}"


@pytest.mark.parametrize(("address", "port", "alias", "expected"), [
    ("Box", 22, None, ["box"]), ("box", 2222, None, ["[box]:2222", "box"]), ("box", 2222, "Alias", ["alias"]),
    ("::1", 2222, None, ["[::1]:2222", "::1"]),
])
def test_the_names_that_are_looked_for(address: str, port: int, alias: str | None, expected: list[str]) -> None:
    assert names_of(address, port, alias) == expected


def test_a_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path: Path) -> None:
    path = make_key(tmp_path / "key")
    blob = base64.b64decode(Path(f"{path}.pub").read_text().split()[1])
    theirs = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True)
    assert fingerprint(blob) in theirs.stdout


def test_lines_that_are_no_entries_are_passed_over(tmp_path: Path, key: tuple[str, bytes]) -> None:
    good = file_of(tmp_path, key, "box").read_text()
    (tmp_path / "odd").write_text(f"nonsense\nbox ssh-rsa !!!\n|1|x box x\n@revoked\nbox\n{good}")
    assert [entry.line for entry in KnownHosts((tmp_path / "odd",)).entries(["box"])] == [8]


def test_a_revoked_key_is_refused_even_where_another_line_has_it(tmp_path: Path, key: tuple[str, bytes]) -> None:
    file = file_of(tmp_path, key, "box", "@revoked *")
    with pytest.raises(HostKeyMismatch, match="@revoked"):
        KnownHosts((file,), strict=False).check("box", "box", ["box"], 22, *key)


def test_an_authority_is_no_key_of_a_host(tmp_path: Path, key: tuple[str, bytes]) -> None:
    with pytest.raises(HostKeyMismatch, match="unknown"):
        KnownHosts((file_of(tmp_path, key, "@cert-authority *"),)).check("box", "box", ["box"], 22, *key)


def test_without_strictness_an_unknown_key_is_recorded_and_from_then_on_checked(
        tmp_path: Path, key: tuple[str, bytes]) -> None:
    known = KnownHosts((tmp_path / "new" / "known_hosts",), strict=False)
    known.check("box", "box", ["[box]:2222"], 2222, *key)
    assert known.files[0].stat().st_mode & 0o777 == 0o600
    known.check("box", "box", ["[box]:2222"], 2222, *key)
    assert len(known.files[0].read_text().splitlines()) == 1
    with pytest.raises(HostKeyMismatch, match="CHANGED"):
        known.check("box", "box", ["[box]:2222"], 2222, key[0], key[1][:-1] + b"x")
