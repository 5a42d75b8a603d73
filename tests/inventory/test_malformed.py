"""Every mistake in an inventory is found, all at once, where it stands, with what was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ultraplan.inventory import load_inventory
from ultraplan.language.errors import SourceError

Write = Callable[[Mapping[str, str]], Path]

CASES = {f"{file.stem}: {case['name']}": case
         for file in sorted(Path(__file__).with_name("malformed").glob("*.yaml"))
         for case in yaml.safe_load(file.read_text(encoding="utf-8"))}


def sources_of(case: Mapping[str, Any]) -> list[str]:
    """The sources that a case names, or its files outside group_vars and host_vars."""
    return case.get("sources") or sorted(name for name in case["files"] if "_vars/" not in name)


@pytest.mark.parametrize("name", CASES)
def test_mistakes_are_found_where_they_are(name: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    folder = write(case["files"])
    monkeypatch.chdir(folder)
    with pytest.raises(SourceError) as caught:
        load_inventory(sources_of(case), script_seconds=0.5 if "sleep" in str(case["files"]) else 30)
    left = list(caught.value.diagnostics)
    for wanted in case["expect"]:
        found = [given for given in left if given.code == wanted["code"] and wanted.get("says", "") in given.message
                 and wanted.get("hint", "") in (given.hint or "")
                 and ("at" not in wanted or str(given.at).removeprefix(f"{folder}/") == wanted["at"])]
        assert found, f"{wanted} is not among:\n{caught.value}"
        left.remove(found[0])
    assert not left, f"nobody expected:\n{caught.value}"


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_in_a_line_shows_the_line(name: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    folder = write(case["files"])
    monkeypatch.chdir(folder)
    with pytest.raises(SourceError) as caught:
        load_inventory(sources_of(case), script_seconds=0.5)
    for given in caught.value.diagnostics:
        if given.line is not None:
            assert given.at is not None
            text = Path(given.at.file).read_text(encoding="utf-8").splitlines()
            assert given.line == text[given.at.line - 1]
            assert 1 <= given.at.column <= len(given.line) + 1


def test_there_are_at_least_fifty_cases() -> None:
    assert len(CASES) >= 50


def test_bytes_that_are_not_utf_8_are_named_with_their_place(tmp_path: Path) -> None:
    for name in ("hosts", "hosts.yml"):
        (tmp_path / name).write_bytes(b"web:\n  vars: {a: \xff}\n")
        with pytest.raises(SourceError) as caught:
            load_inventory([tmp_path / name])
        found, = caught.value.diagnostics
        assert (found.code, found.at and (found.at.line, found.at.column)) == ("not-utf-8", (2, 13))


def test_a_script_that_hangs_is_killed_with_what_it_started(write: Write) -> None:
    folder = write({"inv": "#!/bin/sh\nsleep 61 & echo $! > child\nwait\n"})
    (folder / "inv").write_text(f"#!/bin/sh\ncd '{folder}'\nsleep 61 & echo $! > child\nwait\n")
    with pytest.raises(SourceError, match="no answer within"):
        load_inventory([folder / "inv"], script_seconds=0.5)
    child = Path("/proc") / (folder / "child").read_text().strip()
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]
