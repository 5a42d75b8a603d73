"""Which sets stay and which go, and why. Pure: from candidates, a policy and the time to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from ultraplan.backup.errors import Refused

CLOCK_SLACK = timedelta(minutes=5)
"""How far clocks may differ before a set counts as one from the future."""

_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda when: (when.year, when.month, when.day, when.hour),
    "daily": lambda when: (when.year, when.month, when.day),
    "weekly": lambda when: tuple(when.isocalendar()[:2]),
    "monthly": lambda when: (when.year, when.month),
    "yearly": lambda when: (when.year,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to keep. ``last``: so many of the newest. ``hourly`` … ``yearly``: the newest of each of so many hours,
    days, ISO weeks, months, years that have any; in UTC. ``within``: everything this young, in seconds."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: float = 0.0

    def check(self) -> None:
        """Raises `Refused` for a policy that keeps nothing, or less than that."""
        values = [getattr(self, field.name) for field in fields(self)]
        if any(value < 0 for value in values):
            raise Refused("a retention policy cannot keep less than nothing")
        if not any(values):
            raise Refused("the retention policy keeps nothing, so everything would be removed",
                          "say what to keep: --keep-last 3, --keep-daily 7, --keep-within 30d")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set as retention sees it. ``point``: the moment it goes back to. ``proven``: it was read whole since it was
    made. ``held``: who needs it."""

    group: str
    set: str
    point: datetime
    proven: bool = False
    held: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a set: it stays for ``reasons``, or goes for want of any."""

    candidate: Candidate
    reasons: Sequence[str]

    @property
    def stays(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def decide(candidates: Iterable[Candidate], policy: Policy, now: datetime) -> list[Verdict]:
    """A verdict for each candidate, by group and newest first. Raises `Refused` for an empty policy."""
    policy.check()
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate)
    verdicts: list[Verdict] = []
    for _, group in sorted(groups.items()):
        group.sort(key=lambda one: (one.point, one.set), reverse=True)
        verdicts += _group(group, policy, now)
    return verdicts


def _group(group: Sequence[Candidate], policy: Policy, now: datetime) -> list[Verdict]:
    """Verdicts for one group, newest first. What lies in the future takes nobody's place: a clock was wrong."""
    present = [one for one in group if one.point <= now + CLOCK_SLACK]
    reasons: dict[str, list[str]] = {one.set: [] for one in group}
    for one in group:
        if one.point > now + CLOCK_SLACK:
            reasons[one.set].append("its time has not come yet: a clock is wrong")
        reasons[one.set] += [f"held by {holder}" for holder in one.held]
    for number, one in enumerate(present[:policy.last], 1):
        reasons[one.set].append(f"last {number} of {policy.last}")
    for name, period in _PERIODS.items():
        _newest_of_each(present, period, name, getattr(policy, name), reasons)
    if policy.within:
        for one in present:
            if now - one.point <= timedelta(seconds=policy.within):
                reasons[one.set].append("young enough")
    for what, chosen in (("the newest", next(iter(present), None)),
                         ("the newest that was verified", next((one for one in present if one.proven), None))):
        if chosen is not None and not reasons[chosen.set]:
            reasons[chosen.set].append(what)
    return [Verdict(one, tuple(reasons[one.set])) for one in group]


def _newest_of_each(group: Sequence[Candidate], period: Callable[[datetime], tuple[int, ...]], name: str, count: int,
                    reasons: dict[str, list[str]]) -> None:
    seen: list[tuple[int, ...]] = []
    for one in group:
        if len(seen) == count:
            return
        key = period(one.point.astimezone(UTC))
        if not seen or key != seen[-1]:
            seen.append(key)
            reasons[one.set].append(f"{name} {len(seen)} of {count}")
