"""Named fault points. Inert unless the environment arms one: ``ULTRAPLAN_FAULT=POINT[@STEP][:N]``.

``after-intent@config:3`` is the third time that the point is passed for the step ``config`` (on its third host);
without a step every passing counts, without a number the first. An armed point kills this process with SIGKILL, so that
crash tests run against the real program. ``ULTRAPLAN_FAULT_ACTION=stop`` stops it (SIGSTOP) instead, for tests of a
controller that wakes up too late, or whose disk fills up right there.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time

POINTS = (
    "before-intent", "after-intent", "before-arm", "after-arm", "after-effect", "before-disarm", "after-disarm",
    "after-outcome", "before-verified", "after-verified",
    "after-rollback-decided", "before-reverse-intent", "after-reverse-intent", "after-reverse-effect", "before-close",
    "during-recovery", "before-write",
)
"""Every point there is, in the order of a run's life; ``before-write`` is every write to the journal."""

_armed, _, _count = os.environ.get("ULTRAPLAN_FAULT", "").partition(":")
_name, _, _step = _armed.partition("@")
_passings = itertools.count(1)
_lock = threading.Lock()


def fault(point: str, step: str = "") -> None:
    """Pass a fault point, on behalf of ``step``; raises ValueError for a name that is not in `POINTS`."""
    if not _name:
        return
    if point not in POINTS:
        raise ValueError(f"unknown fault point {point!r}")
    with _lock:
        if point != _name or (_step and step != _step) or next(_passings) != int(_count or 1):
            return
    stop = os.environ.get("ULTRAPLAN_FAULT_ACTION") == "stop"
    os.kill(os.getpid(), signal.SIGSTOP if stop else signal.SIGKILL)
    if stop:
        time.sleep(0.1)  # one thread gets it and stops the others a moment later: this one must not go on meanwhile
