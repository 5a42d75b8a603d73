"""``ultraplan diff``: what two saved plans, or two runs, do differently."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan plan plans/upgrade.yaml -o monday.plan
  ultraplan diff monday.plan tuesday.plan
  ultraplan diff 20261122-014455-7f3a last --json
"""

DIFFERENT = 2


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a saved plan, or a run's id (the start of it, or 'last')")
    parser.add_argument("b", metavar="B", help="another one of the same kind")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 where they differ")
    options.add_state(parser)
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.cli.views.differences import differences_text, of_plans, of_runs
    from ultraplan.engine.runs import NotPossible
    from ultraplan.engine.saved import load

    files = [Path(one).is_file() for one in (args.a, args.b)]
    if files[0] != files[1]:
        raise NotPossible("two saved plans can be compared, or two runs; "
                          f"{args.a if files[0] else args.b} is a file and the other is not")
    if files[0]:
        for one in (args.a, args.b):
            load(Path(one))  # says what is wrong with a file that is no saved plan
        told = of_plans(*(json.loads(Path(one).read_text(encoding="utf-8")) for one in (args.a, args.b)))
    else:
        store = options.store(args)
        try:
            runs = [store.find(one) for one in (args.a, args.b)]
            told = of_runs(*((run, list(store.read(run))) for run in runs))
        finally:
            store.close()
    told = {"format": "ultraplan/diff", "version": 1, "a": args.a, "b": args.b, **told}
    print(json.dumps(told, ensure_ascii=False) if args.json
          else differences_text(told, color=options.colored(args)))
    return DIFFERENT if args.detailed_exitcode and told["different"] else 0
