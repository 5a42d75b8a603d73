"""The tests catch bugs of the protocol that were put in on purpose. `make planted` tells which test catches which."""

from __future__ import annotations

import pytest

from tests.planted.bugs import BUGS, Bug
from tests.planted.plant import Outdated, catch, copy, plant

SAMPLE = (
    "a host does not look at the epoch",
    "the store does not look at the epoch",
    "an effect is run again without asking its receipt",
    "what could not be undone is not reported",
)


@pytest.mark.lab
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name in SAMPLE], ids=lambda bug: bug.name)
def test_a_sample_of_planted_bugs_is_caught(bug: Bug) -> None:
    caught = catch(bug)
    assert caught.by is not None, caught.said


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name not in SAMPLE], ids=lambda bug: bug.name)
def test_every_planted_bug_is_caught(bug: Bug) -> None:
    caught = catch(bug)
    assert caught.by is not None, caught.said


def test_every_planted_bug_fits_the_code_as_it_is() -> None:
    with copy() as folder:
        before = {path: path.read_text() for bug in BUGS for path in {folder / name for name, _, _ in bug.edits}}
        for bug in BUGS:
            plant(bug, folder)
            for path, text in before.items():
                path.write_text(text)


def test_a_bug_that_does_not_fit_any_more_is_an_error() -> None:
    with copy() as folder, pytest.raises(Outdated, match="0 times, not once"):
        plant(Bug("outdated", (("ultraplan/__init__.py", "what was never there", ""),), ()), folder)
