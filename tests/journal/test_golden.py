"""Golden journals: what an earlier version wrote is read to the last field, tells the same, and is gone on with."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.cli.program import Program
from tests.journal.golden import FOLDER, HOME, dumped, loaded, stories
from ultraplan import __version__
from ultraplan.journal.events import AnyEvent, decode, encode
from ultraplan.journal.stores import open_store

VERSIONS = sorted(path.stem for path in FOLDER.glob("*.sql"))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def state(version: str, tmp_path: Path) -> Path:
    return loaded((FOLDER / f"{version}.sql").read_text(encoding="utf-8"), tmp_path / "state" / "journal.db").parent


def test_this_version_has_one() -> None:
    assert __version__ in VERSIONS, "python -m tests.journal.golden"


def test_it_is_loaded_as_it_was_kept(version: str, state: Path) -> None:
    assert dumped(state / "journal.db") == (FOLDER / f"{version}.sql").read_text(encoding="utf-8")


def test_every_record_is_read_to_the_last_field(state: Path) -> None:
    store = open_store(state / "journal.db")
    for info in store.runs():
        assert info.status != "damaged"
        assert len(store.bundle(info.run)) > 1000
        assert list(store.read(info.run)), "its chain holds"
    store.close()
    with sqlite3.connect(state / "journal.db") as db:
        payloads = [payload for payload, in db.execute("SELECT payload FROM records")]
    assert [encode(decode(payload)) for payload in payloads] == payloads


def test_that_of_this_version_has_every_kind_of_event() -> None:
    text = (FOLDER / f"{__version__}.sql").read_text(encoding="utf-8")
    written = {kind.__struct_config__.tag for kind in get_args(AnyEvent)
               if f'"type":"{kind.__struct_config__.tag}"'.encode().hex() in text.lower()}
    assert written == {kind.__struct_config__.tag for kind in get_args(AnyEvent)}


def test_its_runs_are_told_as_they_were(version: str, state: Path) -> None:
    kept = json.loads((FOLDER / f"{version}.json").read_text(encoding="utf-8"))
    present = json.loads(json.dumps(stories(state)))
    assert list(present) == sorted(kept, reverse=True)
    for run, story in kept.items():
        assert _lost(story, present[run]) == []


def _lost(before: Any, now: Any, at: str = "") -> list[str]:
    """Where ``now`` does not say what ``before`` said. It may say more."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [line for key in before for line in (
            _lost(before[key], now[key], f"{at}/{key}") if key in now else [f"{at}/{key} is gone"])]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [line for index, one in enumerate(before) for line in _lost(one, now[index], f"{at}/{index}")]
    return [] if before == now else [f"{at}: {before!r}, now {now!r}"]


@pytest.mark.xdist_group("golden")
def test_a_run_that_it_left_open_is_gone_on_with(version: str, state: Path, tmp_path: Path) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    try:
        up = Program(HOME, tmp_path / "bytecode", ("a", "b"))
        shutil.copytree(state, up.state, dirs_exist_ok=True)
        up("resume")
        assert [(up.root / host / "last").read_text() for host in ("a", "b")] == ["changed\n"] * 2
        assert not (up.root / "a" / "count").exists(), "what it had done is not done again"
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
