"""A real journal, truncated anywhere and with any bit flipped: never a crash, never an invented success, and the damage
is named: where it is, what can still be trusted, and what to do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.journal.real import Real, told

FRAME = 24 + 4096
"""Bytes of a page in SQLite's write-ahead log, which has a header of 32 (sqlite.org/fileformat2.html)."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("real"), tmp_path_factory.mktemp("bytecode"))


def test_an_undamaged_copy_tells_the_truth_and_can_be_resumed(real: Real, tmp_path: Path) -> None:
    folder = real.put(tmp_path / "copy", real.closed)
    assert real.check_list(folder) == "whole"
    assert {real.check_show(folder, run) for run in real.truth} == {"whole"}
    assert real.check_resume(folder) == 0


def cut_anywhere(real: Real, folder: Path, places: Iterable[int], *, list_too: bool = False) -> Counter[str]:
    found: Counter[str] = Counter()
    for place in places:
        real.put(folder, real.closed[:place])
        seen = real.check_store(folder)
        assert seen != "whole", f"cut off at {place}, and nobody noticed"
        found.update([seen, real.check_show(folder, real.last)])
        if list_too:
            real.check_list(folder)
    return found


def test_a_journal_that_was_cut_off_says_so(real: Real, tmp_path: Path) -> None:
    size = len(real.closed)
    pages = range(4096, size, 4096)
    places = {1, 15, 16, 99, 100, size - 1, *pages, *(page - 1 for page in pages), *random.Random(3).sample(
        range(1, size), 15)}
    assert cut_anywhere(real, tmp_path / "cut", sorted(places), list_too=True)["error"] > 0


@pytest.mark.long
@pytest.mark.parametrize("part", range(8))
def test_a_journal_that_was_cut_off_at_any_byte_says_so(real: Real, tmp_path: Path, part: int) -> None:
    cut_anywhere(real, tmp_path / "cut", range(1 + part, len(real.closed), 8))


def test_an_empty_file_is_a_new_journal_without_runs(real: Real, tmp_path: Path) -> None:
    folder = real.put(tmp_path / "empty", b"")
    assert told(folder, "runs").document["runs"] == []
    assert real.check_show(folder, real.last) == "error"


def flip_bits(real: Real, folder: Path, seeds: Iterable[int], resume_every: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        chance = random.Random(seed)
        raw = bytearray(real.closed)
        place = chance.randrange(len(raw))
        raw[place] ^= 1 << chance.randrange(8)
        real.put(folder, bytes(raw))
        try:
            real.check_store(folder)
            seen = {real.check_list(folder), *(real.check_show(folder, run) for run in real.truth)}
            found["noticed" if seen != {"whole"} else "in no run's way"] += 1
            if seed % resume_every == 0:
                found[f"resume: exit {real.check_resume(folder)}"] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}: byte {place} of {len(raw)}")
            raise
    return found


def test_flipped_bits_are_noticed_or_in_no_runs_way(real: Real, tmp_path: Path) -> None:
    found = flip_bits(real, tmp_path / "flipped", range(30), 5)
    assert found["noticed"] > 3
    assert found["resume: exit 0"] > 0


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_a_thousand_flipped_bits_are_noticed_or_in_no_runs_way(
        real: Real, tmp_path: Path, part: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = flip_bits(real, tmp_path / "flipped", range(1000 + part, 2000, 4), 1)
    with capsys.disabled():
        print(f"\n250 flipped bits: {dict(found)}", end="")
    assert found["noticed"] > 20


def cut_the_log(real: Real, folder: Path, places: Iterable[int], resume: bool) -> Counter[str]:
    journal, log = real.killed
    found: Counter[str] = Counter()
    for place in places:
        real.put(folder, journal, log[:place])
        if resume:
            found[f"exit {real.check_resume(folder)}"] += 1
        else:
            found[real.check_show(folder, real.last, earlier=True)] += 1
    return found


def test_a_write_ahead_log_that_lost_its_end_is_an_earlier_journal_and_no_effect_happens_twice(
        real: Real, tmp_path: Path) -> None:
    frames = range(32, len(real.killed[1]), FRAME)
    shown = cut_the_log(real, tmp_path / "log", [0, 7, 32, *frames, *(frame + 100 for frame in frames)], False)
    assert set(shown) <= {"whole", "error"}
    assert shown["whole"] > 10
    resumed = cut_the_log(real, tmp_path / "log", [*frames][-12:], True)
    assert resumed["exit 0"] > 5


@pytest.mark.long
def test_a_write_ahead_log_that_lost_its_end_at_any_byte_is_an_earlier_journal(real: Real, tmp_path: Path) -> None:
    assert set(cut_the_log(real, tmp_path / "log", range(0, len(real.killed[1]), 3), False)) <= {"whole", "error"}


@pytest.mark.long
def test_a_run_whose_journal_lost_its_end_goes_on_and_no_effect_happens_twice(real: Real, tmp_path: Path) -> None:
    cut_the_log(real, tmp_path / "log", range(32, len(real.killed[1]), FRAME), True)
