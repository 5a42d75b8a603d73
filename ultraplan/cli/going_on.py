"""What resume and rollback share: find the run, go on with it, report."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from ultraplan.cli import options

if TYPE_CHECKING:
    from ultraplan.engine.runs import Watch
    from ultraplan.engine.settings import Settings
    from ultraplan.journal.base import Store
    from ultraplan.journal.events import RunClosed


def configure(parser: argparse.ArgumentParser) -> None:
    """The run's id, and how to tell."""
    parser.add_argument("run", metavar="RUN", nargs="?", default="last",
                        help="the run's id, the start of it, or 'last' (the default)")
    options.add_state(parser)
    options.add_output(parser)


def go_on(args: argparse.Namespace,
          verb: Callable[[str, Settings, Store, Watch], RunClosed]) -> int:
    """Find the run, go on with it as ``verb`` does, report. Gives the exit code."""
    from ultraplan.cli.watching import watching
    from ultraplan.secrets import Secrets

    store = options.store(args)
    try:
        run = store.find(args.run)
        hosts = next(one.hosts for one in store.runs() if one.run == run)
        with watching(args, Secrets(), store) as watch:
            return watch.closed(verb(run, options.settings(args), store, watch.watch), run, hosts)
    finally:
        store.close()
