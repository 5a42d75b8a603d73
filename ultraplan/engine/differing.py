"""Facts of a host compared: what was, what the run left, what is now; and the undos that this makes hopeless."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ultraplan.steps.base import StepFailed

Facts = Mapping[str, Any]

CUT = {"sha256": 12}
"""Characters that are enough to tell two values of a field apart for people."""

_NAMED = {"uid": "owner", "gid": "group"}

MOST = 60
"""Characters of any other value."""


class Hopeless(StepFailed):
    """An undo that trying again cannot help. ``trouble`` and ``facts`` as in `ultraplan.journal.events.Failed`."""

    def __init__(self, why: str, trouble: str, facts: dict[str, dict[str, Any]]) -> None:
        super().__init__(why)
        self.trouble, self.facts = trouble, facts


def fields_that_differ(one: Facts, other: Facts) -> list[str]:
    """The names of the facts that tell two states apart, in their order. Where nothing is there in one of them, that is
    all that there is to say; numbers of accounts are left out where the names differ as well."""
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    if "kind" in names and "absent" in (one.get("kind"), other.get("kind")):
        return ["kind"]
    return [name for name in names if _NAMED.get(name) not in names]


def value_text(name: str, value: Any) -> str:
    """A fact for people, on one line and not long."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    most = CUT.get(name, MOST)
    return text if len(text) <= most else f"{text[:most]}…"


def differing(before: Facts, after: Facts) -> str:
    """What differs, in a line: ``size 6 → 14, mode 0640 → 0644``."""
    return ", ".join(f"{name} {value_text(name, before.get(name))} → {value_text(name, after.get(name))}"
                     for name in fields_that_differ(before, after)) or "nothing"


def conflict(before: Facts, left: Facts, now: Facts, written: float | None) -> Hopeless:
    """Somebody changed it after the run: putting back what was before would destroy that. ``written``: when, in Unix
    seconds by the host's clock."""
    when = "" if written is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(written))
    facts = _three(before, left, {**now, "written": when} if when else now)
    return Hopeless(f"changed since the run left it: {differing(left, now)}{f'; written {when}' if when else ''}",
                    "conflict", facts)


def gone(host: str, before: Facts, left: Facts | None, now: Facts) -> Hopeless:
    """Nothing is kept on the host any more of what the run secured there."""
    return Hopeless(f"its pre-image is gone: {host} keeps nothing any more of what this run secured (was ultraplan's "
                    f"state folder there removed?); not put back: {differing(now, before)}",
                    "gone", _three(before, left or {}, now))


def _three(before: Facts, left: Facts, now: Facts) -> dict[str, dict[str, Any]]:
    return {"before": dict(before), "left": dict(left), "now": dict(now)}

