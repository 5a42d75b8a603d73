"""The crash matrix: the real program, killed for real, and the hosts' own word on what happened.

`make crash-matrix` prints it as a table; `python -m tests.crash WORDS` runs the cells whose names have them all.
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import HandOut
from tests.crash.cells import MORE, PLACES, TROUBLES, VERBS, Cell, cells
from tests.crash.disks import why_unavailable as no_disks
from tests.crash.plan import KINDS
from tests.crash.run import run
from tests.crash.sites import FLEET
from tests.crash.wal import FRAME, HEADER, last_transaction
from tests.lab import Lab
from ultraplan.engine.faults import POINTS

CONFIRMING = {"before-arm", "after-arm", "before-disarm", "after-disarm"}
"""Points that only a step with `confirm` passes; its own tests kill there."""

SAMPLE = (
    "torn INTENT, resume, local, reversible",
    "INTENT durable, no effect, rollback, local, irreversible",
    "mid-effect, which dies too, resume, local, reversible",
    "effect done, no OUTCOME, resume, ssh, irreversible",
    "torn OUTCOME, rollback, ssh, reversible",
    "host reboot mid-effect, resume, ssh, idempotent",
    "before VERIFIED, rollback, fleet, idempotent",
    "before a reverse effect, resume, fleet, reversible",
    "after a reverse effect, rollback, local, idempotent",
    "EIO on the store at OUTCOME, resume, local, irreversible",
    "power cut of the controller after INTENT, resume, local, reversible",
    "ENOSPC on the host, resume, local, idempotent",
    "paused after INTENT, wakes after a take-over, rollback, local, reversible",
    "second kill, at write 6 of the recovery, rollback, local, reversible",
)
"""What every `make test` runs: a minute of the matrix."""

EVERY = {str(cell): cell for cell in cells()}


def _check(cell: Cell, folder: Path, request: pytest.FixtureRequest) -> None:
    reason = no_disks() if cell.trouble.disk else None
    if reason:
        pytest.skip(reason)
    lab: Lab | None = None
    names: list[str] = []
    if cell.place != "local":
        lab = request.getfixturevalue("lab")
        hand_out: HandOut = request.getfixturevalue("lab_hosts")
        names = hand_out(1 if cell.place == "ssh" else FLEET)
    verdict = run(cell, folder / "cell", lab, names)
    assert not verdict.wrong, verdict.text


@pytest.mark.lab
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_matrix_is_right(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _check(EVERY[name], tmp_path, request)


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in EVERY if name not in SAMPLE])
def test_every_cell_of_the_matrix_is_right(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _check(EVERY[name], tmp_path, request)


def test_the_matrix_crosses_what_it_says() -> None:
    assert len(EVERY) == sum(1 for _ in cells()), "two cells of the same name"
    assert len(EVERY) >= 250
    for trouble in TROUBLES:
        found = Counter((cell.verb, cell.place, cell.kind) for cell in EVERY.values() if cell.trouble == trouble)
        assert set(found) == {(verb, place, kind) for verb in VERBS for place in PLACES for kind in KINDS}
    assert set(MORE) == set(PLACES)


def test_every_fault_point_is_in_the_matrix() -> None:
    used = {cell.trouble.point.partition("@")[0] for cell in EVERY.values()}
    used |= {"before-write", "during-recovery"}  # by second kills
    assert set(POINTS) - CONFIRMING <= used


def test_the_last_transaction_of_a_log_is_found_before_what_an_older_log_left() -> None:
    def frame(salt: bytes, commit: int) -> bytes:
        return struct.pack(">II", 1, commit) + salt + bytes(8) + bytes(512)

    head = struct.pack(">IIII", 0, 0, 512, 0) + b"newsalts" + bytes(8)
    log = head + frame(b"newsalts", 1) + frame(b"newsalts", 0) + frame(b"newsalts", 2) + frame(b"oldsalts", 3)
    assert last_transaction(log) == (HEADER + FRAME + 512, HEADER + 3 * (FRAME + 512))
    with pytest.raises(ValueError, match="no transaction"):
        last_transaction(head + frame(b"newsalts", 0))
