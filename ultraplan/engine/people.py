"""Questions to people: asked in the journal, answered at the run's terminal or from any other by the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ultraplan.engine.run import Run
from ultraplan.journal.base import Store
from ultraplan.journal.events import Answered, Asked, Failed, RunClosed, Verified

POLL = 0.5
"""Seconds between two looks for an answer in the journal."""

Terminal = Callable[[str, float | None], bool]
"""Asks the person at this process's terminal; raises TimeoutError."""


class People:
    """Answers for the steps of one run. ``terminal`` None: nobody is at one, so answers come by the journal."""

    def __init__(self, run: Run, terminal: Terminal | None) -> None:
        self._run, self._terminal = run, terminal

    def __call__(self, node: str, host: str, question: str, deadline: float | None) -> bool:
        """A person's answer to ``question`` of ``node`` on ``host``; ``deadline`` in seconds from now.

        Raises TimeoutError where nobody answers in time, and at once where nobody can: no terminal and no deadline.
        """
        op = self._run.op(node, host)
        known, seen = self._look(op, 0)
        if known is not None:  # given while no process was there to take it
            return known
        about: dict[str, Any] = {"op": op, "node": node, "host": host}
        limit = None if deadline is None else float(deadline)  # a duration is a float that JSON does not know
        self._run.write(Asked(**about, question=question, deadline=limit))
        if self._terminal is not None:
            yes = self._terminal(question, deadline)
            self._run.write(Answered(**about, yes=yes))
            return yes
        if deadline is None:
            raise TimeoutError("no terminal to ask on, and no deadline to wait for")
        until = time.monotonic() + deadline
        while time.monotonic() < until:
            known, seen = self._look(op, seen)
            if known is not None:
                return known
            self._run.sleep(POLL)
        raise TimeoutError(question)

    def _look(self, op: str, after: int) -> tuple[bool | None, int]:
        """The answer to the operation's last question among the records after number ``after``, and the last number."""
        known = None
        for record in self._run.store.read(self._run.id, after=after):
            after = record.seq
            if isinstance(record.event, Asked) and record.event.op == op:
                known = None
            elif isinstance(record.event, Answered) and record.event.op == op:
                known = record.event.yes
        return known, after


def questions(run_id: str, store: Store) -> list[Asked]:
    """What the run's steps ask and nobody has answered yet."""
    found: dict[str, Asked] = {}
    for record in store.read(run_id):
        event = record.event
        if isinstance(event, Asked):
            found[event.op] = event
        elif isinstance(event, (Answered, Verified, Failed)):
            found.pop(event.op, None)
        elif isinstance(event, RunClosed):
            found.clear()
    return list(found.values())
