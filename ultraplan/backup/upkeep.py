"""What is done to a store from time to time: remove what retention lets go, see how fresh its sets are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ultraplan.backup.catalogue import (
    LEVELS,
    REMAINS_KEPT,
    Found,
    Opened,
    find,
    open_set,
    remove,
    stale,
    verified,
)
from ultraplan.backup.errors import Damaged, Untrusted
from ultraplan.backup.retention import CLOCK_SLACK, Candidate, Policy, Verdict, decide
from ultraplan.backup.stores.base import Store


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a store. ``bad``: committed, but damaged or not signed by anybody trusted, and why. ``remains``: never
    committed."""

    sets: Sequence[Opened]
    bad: Sequence[tuple[Found, str]]
    remains: Sequence[Found]


def survey(store: Store, signers: Iterable[str], name: str | None = None) -> Survey:
    """Look at every set (of ``name``), at level 1."""
    known = tuple(signers)
    committed, remains = find(store, name)
    sets: list[Opened] = []
    bad: list[tuple[Found, str]] = []
    for found in committed:
        try:
            sets.append(open_set(store, found, known))
        except (Damaged, Untrusted) as error:
            bad.append((found, str(error)))
    return Survey(sets, bad, remains)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a policy means for a store, before anything is done. ``verdicts`` and ``sets`` belong together. ``bad`` sets
    count for nothing and stay. ``remains``: old ones, that go."""

    verdicts: Sequence[Verdict]
    sets: Sequence[Opened]
    bad: Sequence[tuple[Found, str]]
    remains: Sequence[Found]

    @property
    def going(self) -> list[Opened]:
        """The sets that go."""
        return [one for one, verdict in zip(self.sets, self.verdicts, strict=True) if not verdict.stays]


def preview_prune(store: Store, signers: Iterable[str], policy: Policy, now: datetime,
                  name: str | None = None) -> Pruning:
    """What `prune` would do. Sets are grouped by name and host. Only sets with a trusted signature count: else a forged
    one could push a good one out."""
    policy.check()
    there = survey(store, signers, name)
    candidates = {}
    for one in there.sets:
        note = verified(store, one.found)
        proven = note is not None and LEVELS.index(note.level) >= LEVELS.index("read")
        group = f"{one.manifest.name} of {one.manifest.host.name}"
        candidates[one.found.ref] = Candidate(group, one.found.ref, one.manifest.point, proven, tuple(one.found.held))
    verdicts = decide(candidates.values(), policy, now)
    by_ref = {one.found.ref: one for one in there.sets}
    return Pruning(verdicts, [by_ref[verdict.candidate.set] for verdict in verdicts], there.bad,
                   stale(there.remains, now))


def prune(store: Store, pruning: Pruning, tell: Callable[[str], None] = lambda _: None) -> list[str]:
    """Remove what goes; ``tell`` hears of each when it is gone. A set that somebody took hold of since stays. The names
    of those that are gone."""
    gone: list[str] = []
    for one in pruning.going:
        again = [found for found in find(store, one.found.name)[0] if found.set == one.found.set]
        if again and not again[0].held:
            remove(store, again[0])
            gone.append(one.found.ref)
            tell(one.found.ref)
    for found in pruning.remains:
        remove(store, found)
        gone.append(found.ref)
        tell(found.ref)
    store.sweep(REMAINS_KEPT.total_seconds())
    return gone


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the newest good set is. ``fresh``: young enough; ``why``: in words."""

    name: str
    set: str | None
    point: datetime | None
    age: timedelta | None
    fresh: bool
    why: str


def freshness(store: Store, signers: Iterable[str], name: str, rpo: timedelta, now: datetime,
              level: str | None = None) -> Freshness:
    """Whether the newest trusted set of ``name`` (with ``level``: that is noted to have passed it) goes back at most
    ``rpo``. Nothing that is damaged, not trusted or not committed counts."""
    there = survey(store, signers, name)
    good = there.sets
    if level is not None:
        notes = {one.found.ref: verified(store, one.found) for one in good}
        good = [one for one in good if (note := notes[one.found.ref]) is not None
                and LEVELS.index(note.level) >= LEVELS.index(level)]
    if not good:
        what = f" verified at level {level}" if level else ""
        others = [f"{len(there.bad)} not to be trusted"] if there.bad else []
        others += [f"{len(there.remains)} never completed"] if there.remains else []
        more = f" ({', '.join(others)})" if others else ""
        return Freshness(name, None, None, None, False, f"there is no backup of {name}{what}{more}")
    newest = max(good, key=lambda one: one.manifest.point)
    age = now - newest.manifest.point
    if age < -CLOCK_SLACK:
        return Freshness(name, newest.found.set, newest.manifest.point, age, False,
                         f"{newest.found.ref} is from the future: a clock is wrong")
    return Freshness(name, newest.found.set, newest.manifest.point, age, age <= rpo, "")
