"""``ultraplan resolve``: a person says how an operation in doubt ended."""

from __future__ import annotations

import argparse
import json

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan resolve last migrate@db1 --as done
  ultraplan resolve last config@web2 --as undone
  ultraplan resume last
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run's id, the start of it, or 'last'")
    parser.add_argument("op", metavar="OP", help="the operation: its id or the start of it, or STEP@HOST")
    parser.add_argument("--as", dest="answer", choices=("done", "not-done", "undone"), required=True,
                        help="done: it was carried out; not-done: it was not, and may be tried again; undone: a "
                             "rollback could not undo it, and a person has put right what it left")
    options.add_state(parser)
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.engine.runs import resolve

    store = options.store(args)
    try:
        found = store.find(args.run)
        node, host = resolve(found, args.op, args.answer, options.settings(args), store)
    finally:
        store.close()
    if args.json:
        print(json.dumps({"format": "ultraplan/resolved", "version": 1, "run": found, "node": node, "host": host,
                          "as": args.answer}))
    else:
        print(f"{node} on {host} counts as {args.answer}; go on with: ultraplan resume {found}")
    return 0
