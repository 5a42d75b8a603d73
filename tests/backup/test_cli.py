"""``ultraplan backup`` as a program is used."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.backup.trees import snapshot
from ultraplan.cli.main import main
from ultraplan.cli.views.moving import Moving, size

SET = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}")


class Program:
    """The command line, in a store and with keys of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        (folder / "store").mkdir()
        self("keygen", str(folder / "keys"), "--kept-on", "safe")

    def __call__(self, *words: str, code: int = 0) -> str:
        got = main(["backup", *words])
        out, self.err = self._capsys.readouterr()
        assert got == code, (got, out, self.err)
        return out

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self(*words, "--json", code=code))
        return data


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("ULTRAPLAN_BACKUP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ULTRAPLAN_BACKUP_KEYS", f"{tmp_path}/keys/recovery.key:{tmp_path}/keys/recovery.pub")
    monkeypatch.setenv("ULTRAPLAN_BACKUP_SIGNING_KEY", str(tmp_path / "keys/signing.key"))
    monkeypatch.chdir(tmp_path)
    return Program(tmp_path, capsys)


def test_from_keys_to_a_restore_and_back(program: Program, tree: Path) -> None:
    assert SET.search(program("create", "box", str(tree)))
    before = snapshot(tree)
    assert "every byte is as it was" in program("verify", "box")
    assert "restored and compared" in program("verify", "box", "--level", "restore")
    assert "nothing to restore" in program("restore", "box", "--target", "/", "--dry-run")
    (tree / "etc/app.conf").write_text("port = 1\n")
    (tree / "etc/\x1b[31mred").write_text("")
    shown = program("restore", "box", "--target", "/", "--dry-run")
    assert f"~ file {tree}/etc/app.conf" in shown
    assert "- file" in shown
    assert "\x1b" not in shown
    later = snapshot(tree)
    done = program.json("restore", "box", "--target", "/", "--yes")
    assert done["restored"] == [str(tree)]
    assert {name: row[:-1] for name, row in snapshot(tree).items()} == {name: row[:-1] for name, row in before.items()}
    [kept] = done["preimages"]
    program("restore", "--undo", kept)
    assert snapshot(tree) == later


def test_what_the_list_tells_of_good_forged_and_incomplete_sets(program: Program, tree: Path, tmp_path: Path) -> None:
    sets = [program.json("create", "box", str(tree))["set"] for _ in range(3)]
    (tmp_path / "store/box" / sets[0] / "COMMIT").unlink()
    (tmp_path / "store/box" / sets[1] / "manifest.json.sig").write_bytes(bytes(64))
    listed = program.json("list")
    assert [(one["set"], one["state"]) for one in listed["sets"]] == [(sets[2], "good"), (sets[1], "refused")]
    assert listed["incomplete"] == [f"box/{sets[0]}"]
    text = program("list", "box")
    assert "REFUSED" in text
    assert "incomplete, not counted" in program.err


def test_freshness_is_an_exit_code(program: Program, tree: Path) -> None:
    assert "there is no backup of box" in program("freshness", "box", "--rpo", "1h", code=1)
    program("create", "box", str(tree))
    assert program("freshness", "box", "--rpo", "1h").startswith("fresh: box: goes back ")
    assert program("freshness", "box", "--rpo", "1ms", code=1).startswith("STALE: box: ")
    assert program.json("freshness", "box", "other", "--rpo", "1h", code=1)["fresh"] is False
    program("freshness", "box", "--rpo", "soon", code=2)


def test_pruning_shows_why_and_keeps_what_is_held(program: Program, tree: Path) -> None:
    sets = [program.json("create", "box", str(tree))["set"] for _ in range(3)]
    program("hold", f"box/{sets[0]}", "ticket-1")
    shown = program("prune", "--keep-last", "1", "--dry-run")
    assert [line.split("  ")[-1] for line in shown.splitlines()[:3]] == [
        "last 1 of 1", "no rule keeps it", "held by ticket-1"]
    assert len(program.json("list")["sets"]) == 3
    assert program.json("prune", "--keep-last", "1", "--yes")["removed"] == [f"box/{sets[1]}"]
    program("release", f"box/{sets[0]}", "ticket-1")
    program("prune", "--keep-last", "1", "--yes")
    assert [one["set"] for one in program.json("list")["sets"]] == [sets[2]]


REFUSED = {
    "an empty policy": (["prune", "--yes"], "keeps nothing"),
    "nobody to ask before pruning": (["prune", "--keep-last", "1"], "nobody to ask"),
    "nobody to ask before restoring": (["restore", "box", "--target", "/"], "nobody to ask"),
    "a restore without a target": (["restore", "box", "--yes"], "a target"),
    "a relative path": (["create", "box", "etc"], "absolute path"),
    "a limit that is none": (["create", "box", "/etc/hostname", "--limit-rate", "fast"], "--limit-rate"),
    "a store of an unknown kind": (["list", "--store", "ftp://x/y"], "no place for backups"),
    "no store": (["list", "--store", ""], "where the backups are"),
}


@pytest.mark.parametrize(("words", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_says_why(
        program: Program, words: list[str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    program(*words, code=1 if why == "no place for backups" else 2)
    assert why in program.err
    assert "Traceback" not in program.err


def test_a_store_inside_of_what_is_backed_up_is_refused(program: Program, tmp_path: Path) -> None:
    program("create", "box", str(tmp_path), code=2)
    assert "lies in what is backed up" in program.err
    program("create", "box", str(tmp_path), "--exclude", str(tmp_path / "store"))


def test_a_signing_key_that_nobody_would_trust_is_refused(program: Program, tree: Path, tmp_path: Path) -> None:
    program("keygen", str(tmp_path / "other"), "--kept-on", "safe")
    program("create", "box", str(tree), "--signing-key", str(tmp_path / "other/signing.key"), code=2)
    assert "is not the key that" in program.err


def test_ctrl_c_leaves_nothing_and_exits_130(program: Program, tree: Path, tmp_path: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(3 << 20))
    child = subprocess.Popen(
        [sys.executable, "-m", "ultraplan.cli.main", "backup", "create", "box", str(tree), "--limit-rate", "500kB"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not list((tmp_path / "store").rglob(".part-*")):
        assert time.monotonic() < until
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, "", "interrupted\n")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_the_line_of_a_transfer_tells_bytes_rate_and_time_left() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now, out = [0.0], Terminal()
    moving = Moving("checked", 100_000_000, out=out, clock=lambda: now[0])
    for _ in range(10):
        now[0] += 1.0
        moving.tick(5_000_000)
    assert moving.line() == "50.0 MB of 100.0 MB checked, 50%, 5.0 MB/s, 10 s left"
    assert out.getvalue().count("\r") == 10
    moving.end()
    assert out.getvalue().endswith("\r\x1b[K")


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    moving = Moving("read", None, out=out, clock=lambda: 0.0)
    moving.tick(10)
    moving.stored(5)
    moving.end()
    assert out.getvalue() == ""
    assert moving.line().startswith("10 B read, 5 B stored, ")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"),
                                             (10**13, "10.0 TB"), (10**16, "10000.0 TB")])
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text
