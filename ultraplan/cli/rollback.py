"""``ultraplan rollback``: show what would be undone, ask, do it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from ultraplan.cli import options
from ultraplan.cli.going_on import configure as configure_going_on
from ultraplan.cli.going_on import go_on

if TYPE_CHECKING:
    from ultraplan.journal.base import Store

EXAMPLES = """\
examples:
  ultraplan rollback                     the newest run: shows what would be undone, and asks
  ultraplan rollback 20261122 --dry-run  only shows it, with what was changed since on the hosts
  ultraplan rollback last --yes          neither shows nor asks
"""


def configure(parser: argparse.ArgumentParser) -> None:
    configure_going_on(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask (required without a terminal)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be undone and what not; change nothing")
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.engine.runs import NotPossible, rollback

    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not args.json
    if not (args.yes or args.dry_run or terminal):
        raise NotPossible("without a terminal to ask on, say --yes; --dry-run shows what would be undone")
    store = options.store(args)
    try:
        # What was shown is what is done, whichever run is the newest by then.
        args.run = store.find(args.run)
        if args.dry_run or not args.yes:
            _show(args, store)
    finally:
        store.close()
    if args.dry_run:
        return 0
    if not args.yes and not options.agreed("Undo this? Only 'yes' goes on: "):
        return 1
    return go_on(args, rollback)


def _show(args: argparse.Namespace, store: Store) -> None:
    from ultraplan.cli.runs import told_of
    from ultraplan.cli.views.foreseen import foreseen_document, foreseen_text, which_run
    from ultraplan.engine.runs import foresee_rollback
    from ultraplan.journal.events import RunOpened

    info = told_of(next(one for one in store.runs() if one.run == args.run))
    first = next(iter(store.read(args.run)), None)
    user = first.event.user if first is not None and isinstance(first.event, RunOpened) else ""
    foreseen = foresee_rollback(args.run, options.settings(args), store)
    if args.json:
        print(json.dumps(foreseen_document(foreseen, info, user), ensure_ascii=False))
    else:
        head = which_run(info, user, time.time())
        print(foreseen_text(foreseen, [f"roll back {head[0]}", *head[1:]], color=options.colored(args)))
        print()
