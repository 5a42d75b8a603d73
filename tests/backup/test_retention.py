"""What stays and what goes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backup.conftest import Backups
from ultraplan.backup.catalogue import find, hold, note_verified, release, verified
from ultraplan.backup.errors import Refused
from ultraplan.backup.retention import Candidate, Policy, decide
from ultraplan.backup.upkeep import freshness, preview_prune, prune

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)


def at(text: str, **more: object) -> Candidate:
    return Candidate("g", text, datetime.fromisoformat(f"{text}+00:00"), **more)  # type: ignore[arg-type]


def stays(candidates: list[Candidate], **policy: float) -> list[str]:
    return [one.candidate.set for one in decide(candidates, Policy(**policy), NOW) if one.stays]  # type: ignore[arg-type]


SIX_HOURLY = [at(f"2026-03-{day:02}T{hour:02}:00") for day in range(1, 15) for hour in (0, 6, 12, 18)]
CASES = {
    "last": (SIX_HOURLY, {"last": 3}, ["2026-03-14T18:00", "2026-03-14T12:00", "2026-03-14T06:00"]),
    "daily": (SIX_HOURLY, {"daily": 2}, ["2026-03-14T18:00", "2026-03-13T18:00"]),
    "weekly": (SIX_HOURLY, {"weekly": 3}, ["2026-03-14T18:00", "2026-03-08T18:00", "2026-03-01T18:00"]),
    "hourly": ([at("2026-03-15T10:10"), at("2026-03-15T10:50"), at("2026-03-15T09:30")], {"hourly": 2},
               ["2026-03-15T10:50", "2026-03-15T09:30"]),
    "monthly": ([at("2026-03-01T00:00"), at("2026-02-28T23:59"), at("2026-02-01T00:00"), at("2025-12-31T00:00")],
                {"monthly": 3}, ["2026-03-01T00:00", "2026-02-28T23:59", "2025-12-31T00:00"]),
    "yearly": ([at("2026-03-01T00:00"), at("2025-12-31T00:00"), at("2025-01-01T00:00"), at("2020-01-01T00:00")],
               {"yearly": 9}, ["2026-03-01T00:00", "2025-12-31T00:00", "2020-01-01T00:00"]),
    "thirty days": ([at("2026-03-01T00:00"), at("2026-02-13T12:00"), at("2026-02-13T11:59")],
                    {"within": 30 * 86400}, ["2026-03-01T00:00", "2026-02-13T12:00"]),
    "the newest, however old": ([at("2020-01-02T00:00"), at("2020-01-01T00:00")], {"within": 60},
                                ["2020-01-02T00:00"]),
    "the newest that was verified": (
        [at("2026-03-14T00:00"), at("2026-03-13T00:00"), at("2026-03-12T00:00", proven=True),
         at("2026-03-11T00:00", proven=True)], {"last": 1}, ["2026-03-14T00:00", "2026-03-12T00:00"]),
    "what is held": ([at("2026-03-14T00:00"), at("2026-03-01T00:00", held=("run-7",))], {"last": 1},
                     ["2026-03-14T00:00", "2026-03-01T00:00"]),
    "what is from the future takes nobody's place": (
        [at("2030-01-01T00:00"), at("2026-03-14T00:00"), at("2026-03-13T00:00")], {"last": 1},
        ["2030-01-01T00:00", "2026-03-14T00:00"]),
    "years by ISO week": ([at("2026-01-01T00:00"), at("2025-12-30T00:00"), at("2025-12-28T00:00")], {"weekly": 9},
                          ["2026-01-01T00:00", "2025-12-28T00:00"]),
}


@pytest.mark.parametrize(("candidates", "policy", "kept"), CASES.values(), ids=CASES.keys())
def test_what_stays(candidates: list[Candidate], policy: dict[str, float], kept: list[str]) -> None:
    assert stays(candidates, **policy) == kept


@pytest.mark.parametrize("policy", [{}, {"last": 0, "within": 0.0}, {"last": -1, "daily": 3}, {"within": -5.0}])
def test_a_policy_that_keeps_nothing_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(Refused):
        stays(SIX_HOURLY, **policy)


def test_each_reason_is_told() -> None:
    first, second, *_ = decide([at("2026-03-15T10:00"), at("2026-03-15T09:00")], Policy(last=1, daily=1, hourly=2), NOW)
    assert first.reasons == ("last 1 of 1", "hourly 1 of 2", "daily 1 of 1")
    assert second.reasons == ("hourly 2 of 2",)


candidates = st.lists(
    st.builds(lambda group, hours, proven, held, n: Candidate(
        group, f"{hours}-{n}", NOW - timedelta(hours=hours), proven, ("x",) if held else ()),
        st.sampled_from("ab"), st.integers(-5, 24 * 800), st.booleans(), st.integers(0, 9).map(lambda n: n == 0),
        st.integers(0, 10**6)),
    unique_by=lambda one: one.set, max_size=60)
policies = st.builds(Policy, last=st.integers(0, 5), hourly=st.integers(0, 5), daily=st.integers(0, 9),
                     weekly=st.integers(0, 5), monthly=st.integers(0, 5), yearly=st.integers(0, 3),
                     within=st.sampled_from([0.0, 3600.0, 86400.0 * 7])).filter(lambda one: one != Policy())


@settings(max_examples=150, deadline=None)
@given(candidates, policies)
def test_what_must_never_go_never_goes(sets: list[Candidate], policy: Policy) -> None:
    verdicts = decide(sets, policy, NOW)
    kept = {one.candidate.set for one in verdicts if one.stays}
    assert {one.candidate.set for one in verdicts} == {one.set for one in sets}
    for group in ("a", "b"):
        mine = sorted((one for one in sets if one.group == group and one.point <= NOW),
                      key=lambda one: (one.point, one.set))
        if mine:
            assert mine[-1].set in kept
        if proven := [one for one in mine if one.proven]:
            assert proven[-1].set in kept
    assert {one.set for one in sets if one.held} <= kept


@settings(max_examples=100, deadline=None)
@given(candidates, policies)
def test_pruning_again_at_once_removes_nothing_more(sets: list[Candidate], policy: Policy) -> None:
    left = [one.candidate for one in decide(sets, policy, NOW) if one.stays]
    assert all(one.stays for one in decide(left, policy, NOW))


@settings(max_examples=100, deadline=None)
@given(candidates, policies, policies)
def test_a_policy_that_keeps_more_removes_no_more(sets: list[Candidate], one: Policy, other: Policy) -> None:
    more = Policy(**{name: max(getattr(one, name), getattr(other, name)) for name in Policy.__slots__})
    least = {each.candidate.set for each in decide(sets, one, NOW) if each.stays}
    assert least <= {each.candidate.set for each in decide(sets, more, NOW) if each.stays}


@settings(max_examples=50, deadline=None)
@given(candidates, policies, st.randoms())
def test_the_order_in_which_a_store_lists_does_not_matter(sets: list[Candidate], policy: Policy, rng: object) -> None:
    shuffled = list(sets)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(sets, policy, NOW) == decide(shuffled, policy, NOW)


# -- over a store


def day(backups: Backups, tree: Path, number: int) -> str:
    when = datetime(2026, 3, number, 3, 0, tzinfo=UTC)
    return backups.make(tree, clock=lambda: when).manifest.set


def test_pruning_removes_what_the_preview_said(backups: Backups, tree: Path) -> None:
    sets = [day(backups, tree, number) for number in range(1, 8)]
    hold(backups.store, find(backups.store)[0][0], "run-7", "it is being restored")
    note_verified(backups.store, find(backups.store)[0][2], "read", NOW)
    pruning = preview_prune(backups.store, backups.recovery.signers, Policy(last=2), NOW)
    assert [one.found.set for one in pruning.going] == [sets[4], sets[3], sets[1]]
    told: list[str] = []
    assert prune(backups.store, pruning, told.append) == told == [f"box/{one}" for one in (sets[4], sets[3], sets[1])]
    assert [one.set for one in find(backups.store)[0]] == [sets[0], sets[2], sets[5], sets[6]]
    release(backups.store, find(backups.store)[0][0], "run-7")
    again = preview_prune(backups.store, backups.recovery.signers, Policy(last=2), NOW)
    assert [one.found.set for one in again.going] == [sets[0]]


def test_a_set_that_somebody_took_hold_of_meanwhile_stays(backups: Backups, tree: Path) -> None:
    day(backups, tree, 1)
    day(backups, tree, 2)
    pruning = preview_prune(backups.store, backups.recovery.signers, Policy(last=1), NOW)
    hold(backups.store, find(backups.store)[0][0], "run-9", "just now")
    assert prune(backups.store, pruning) == []
    assert len(find(backups.store)[0]) == 2


def test_damaged_and_forged_sets_push_nobody_out_and_stay(backups: Backups, tree: Path) -> None:
    good = day(backups, tree, 1)
    bad = backups.store.root / "box" / day(backups, tree, 2)
    manifest = json.loads((bad / "manifest.json").read_text())
    (bad / "manifest.json").write_text(json.dumps({**manifest, "name": "box "}))
    pruning = preview_prune(backups.store, backups.recovery.signers, Policy(last=1), NOW)
    assert (pruning.going, [found.set for found, _ in pruning.bad]) == ([], [bad.name])
    prune(backups.store, pruning)
    assert [one.set for one in find(backups.store)[0]] == [good, bad.name]


def test_old_remains_go_and_young_ones_may_be_under_way(backups: Backups, tree: Path) -> None:
    for number in (1, 14):
        (backups.store.root / "box" / day(backups, tree, number) / "COMMIT").unlink()
    kept = day(backups, tree, 15)
    pruning = preview_prune(backups.store, backups.recovery.signers, Policy(last=1), NOW)
    prune(backups.store, pruning)
    sets, remains = find(backups.store)
    assert ([one.set for one in sets], len(remains)) == ([kept], 1)


def test_a_set_half_removed_is_no_set(backups: Backups, tree: Path) -> None:
    """Killed right after its first delete."""
    day(backups, tree, 1)
    [found], _ = find(backups.store)
    backups.store.delete(f"{found.ref}/COMMIT")
    sets, remains = find(backups.store)
    assert (sets, len(remains)) == ([], 1)


def test_a_lower_level_does_not_take_back_a_higher_one(backups: Backups, tree: Path) -> None:
    day(backups, tree, 1)
    for level in ("restore", "read"):
        note_verified(backups.store, find(backups.store)[0][0], level, NOW)
    note = verified(backups.store, find(backups.store)[0][0])
    assert note is not None
    assert note.level == "restore"


def test_freshness_counts_only_what_could_be_restored(backups: Backups, tree: Path) -> None:
    signers = backups.recovery.signers

    def now(hours: float, **more: str) -> tuple[bool, str]:
        told = freshness(backups.store, signers, "box", timedelta(hours=24), datetime(2026, 3, 2, 3, tzinfo=UTC)
                         + timedelta(hours=hours), **more)
        return told.fresh, told.why

    assert now(0) == (False, "there is no backup of box")
    first = day(backups, tree, 1)
    assert now(0) == (True, "")
    assert now(0.01)[0] is False
    second = day(backups, tree, 2)
    assert now(0.01)[0] is True
    assert now(0, level="read") == (False, "there is no backup of box verified at level read")
    note_verified(backups.store, find(backups.store)[0][0], "restore", NOW)
    assert now(0, level="read")[0] is True
    assert now(0.01, level="read")[0] is False
    (backups.store.root / "box" / second / "data.tar.zst.age").unlink()
    assert now(0.01)[0] is False
    (backups.store.root / "box" / first / "COMMIT").unlink()
    assert now(0) == (False, "there is no backup of box (1 not to be trusted, 1 never completed)")
    day(backups, tree, 9)
    assert now(0) == (False, now(0)[1])
    assert "from the future" in now(0)[1]
