"""Named fault points. Inert unless the environment arms one: ``ULTRAPLAN_FAULT=after-intent[:N]`` (the N-th passing).

An armed point kills this process with SIGKILL, so that crash tests run against the real program.
``ULTRAPLAN_FAULT_ACTION=stop`` stops it (SIGSTOP) instead, for tests of a controller that wakes up too late.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading

POINTS = (
    "before-intent", "after-intent", "after-effect", "after-outcome", "before-verified", "after-rollback-decided",
    "before-reverse-intent", "after-reverse-intent", "after-reverse-effect", "before-close", "during-recovery",
)
"""Every point there is, in the order of a run's life."""

_name, _, _count = os.environ.get("ULTRAPLAN_FAULT", "").partition(":")
_passings = itertools.count(1)
_lock = threading.Lock()


def fault(point: str) -> None:
    """Pass a fault point; raises ValueError for a name that is not in `POINTS`."""
    if not _name:
        return
    if point not in POINTS:
        raise ValueError(f"unknown fault point {point!r}")
    with _lock:
        if point != _name or next(_passings) != int(_count or 1):
            return
    stop = os.environ.get("ULTRAPLAN_FAULT_ACTION") == "stop"
    os.kill(os.getpid(), signal.SIGSTOP if stop else signal.SIGKILL)
