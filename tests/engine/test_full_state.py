"""A host whose state folder is full: nothing is claimed, nothing is done, and both are said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ultraplan.shell import library, quote

SHELLS = (("dash",), ("busybox", "ash"))


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system on which files can be made, but nothing be written to them."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs to mount a file system")
    try:
        with (place / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
            while True:
                file.write(b"x" * 4096)
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def _run(shell: tuple[str, ...], place: Path, text: str) -> subprocess.CompletedProcess[str]:
    program = f"{library()}\nUP={quote(str(place))} UP_HOST=h\n{text}\n"
    return subprocess.run([*shell, "-c", program], cwd=place, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_claim_that_cannot_be_written_is_no_claim(shell: tuple[str, ...], full: Path) -> None:
    refused = _run(shell, full, f"up_effect {full}/op 1 'echo done >>{full.parent}/effect'")
    assert refused.returncode == 96
    assert "is the disk full" in refused.stderr
    assert not (full / "op").exists()
    (full / "fill").unlink()
    assert _run(shell, full, f"up_effect {full}/op 1 'echo done >>{full.parent}/effect'").returncode == 0
    assert _run(shell, full, f"up_effect {full}/op 1 'echo done >>{full.parent}/effect'").returncode == 97
    assert (full.parent / "effect").read_text() == "done\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_failure_whose_words_found_no_room_says_so(shell: tuple[str, ...], full: Path) -> None:
    (full / "fill").write_bytes(b"x" * 4096)  # room for the receipt only
    failed = _run(shell, full, f"up_effect {full}/op 1 'echo words >&2; exit 7'")
    assert failed.returncode == 7
    assert f"cannot write to {full} (is the disk full?)" in failed.stderr
