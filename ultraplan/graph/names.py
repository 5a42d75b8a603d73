"""The names that every expression of a plan may use."""

from __future__ import annotations

BUILTIN_FACTS = ("hostname", "os", "os_version", "kernel", "arch", "user", "uid", "home", "shell", "boot")
"""``facts.NAME`` that each host gives without a step that sets it."""

HOST = ("name", "address", "groups", "vars")
"""``host.NAME``."""

RUN = ("id", "started", "plan", "user", "check")
"""``run.NAME``."""

RESULT = ("status", "changed", "failed", "outputs")
"""``steps.ID.NAME``."""

TURNS = "results"
"""``steps.ID.results``: the results of a loop's turns (or of all steps of a block or include), in order."""

EVERYWHERE = frozenset({"host", "groups", "facts", "run"})
"""Names that mean the same in a plan and in the plans that it includes."""

LATE = {"steps": "what a step gives", "facts": "a host's facts", "host": "the host at hand", "run": "the run"}
"""Names whose values are not known when a plan is compiled, and what they stand for."""
