"""Everything around a run that a person sees and does: the view, questions, Ctrl-C, the closing report."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ultraplan.cli import options
from ultraplan.cli.failures import STATUS_CODES
from ultraplan.cli.views import View
from ultraplan.cli.views.report import report
from ultraplan.engine.run import Run
from ultraplan.engine.runs import Watch, why_not_resume
from ultraplan.journal.base import Store
from ultraplan.journal.events import RunClosed
from ultraplan.secrets import Secrets

STOPPING = "stopping: what is under way ends, nothing new begins (again: stop at once)"
SHOW_CURSOR = b"\x1b[?25h\r\n"


@dataclass
class Watching:
    """A view with what the engine needs of it. `closed` ends it and gives the exit code."""

    args: argparse.Namespace
    view: View
    store: Store
    watch: Watch

    def closed(self, event: RunClosed, run: str, hosts: Sequence[str]) -> int:
        """Tell how the run ended."""
        self.view.close()
        final = why_not_resume(run, options.settings(self.args), self.store) if event.status == "failed" else None
        print(report(run, event, list(self.store.read(run)), hosts, as_json=self.args.json,
                     color=options.colored(self.args), final=final))
        if self.args.verb == "rollback" and event.status == "rolled_back":
            return 0  # what was asked for
        return STATUS_CODES[event.status]


@contextmanager
def watching(args: argparse.Namespace, secrets: Secrets, store: Store) -> Iterator[Watching]:
    """A view for one run; Ctrl-C (or SIGTERM) stops it in order, a second one at once."""
    view = _view(args)
    held: list[Run] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not held or held[0].stopping.is_set():
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR)
            os._exit(130)  # the journal is whole at any moment; `ultraplan resume` goes on from it
        held[0].stopping.set()
        # In a thread: what the handler interrupted may be in the middle of writing a line itself.
        threading.Thread(target=view.say, args=(STOPPING,)).start()

    def started(run: Run) -> None:
        held.append(run)
        view.attach(run)

    watch = Watch(listeners=[view.record], tell=view.tell, ask=view.ask if view.asks else None, started=started)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Watching(args, view, store, watch)
    finally:
        view.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _view(args: argparse.Namespace) -> View:
    if args.json:
        from ultraplan.cli.views.ndjson import NdjsonView

        return NdjsonView()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from ultraplan.cli.views.live import LiveView

        return LiveView(color=options.colored(args))
    from ultraplan.cli.views.lines import LinesView

    return LinesView()
