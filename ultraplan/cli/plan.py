"""``ultraplan plan``: what would happen, from the real hosts, without touching them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan plan plans/upgrade.yaml -i inventories/prod.yaml -e version=1.4
  ultraplan plan plans/upgrade.yaml -o monday.plan
  ultraplan plan plans/upgrade.yaml --detailed-exitcode   exit 2 where something would change
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the plan file")
    options.add_source(parser)
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="save the plan, for `ultraplan apply FILE`")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 where something would change")
    parser.add_argument("--unchanged", action="store_true", help="show steps that have nothing to do, too")
    options.add_state(parser)
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.cli.views.plan_text import plan_text
    from ultraplan.engine.runs import NotPossible, preview
    from ultraplan.engine.saved import document, save

    if args.out is not None and (args.out.is_dir() or not args.out.parent.is_dir()):
        raise NotPossible(f"{args.out}: " + ("is a folder" if args.out.is_dir() else "its folder does not exist"))
    job = options.compiled(args)
    try:
        plan = preview(job)
        if args.json:
            print(json.dumps(document(plan, job), ensure_ascii=False))
        else:
            print(plan_text(plan, job.secrets, color=options.colored(args), unchanged=args.unchanged))
        if args.out is not None:
            save(plan, job, args.out)
            if not args.json:
                print(f"\nsaved; exactly this is done by: ultraplan apply {args.out}", file=sys.stdout)
    finally:
        job.close()
    if plan.impossible or plan.unreachable:
        return 1
    return 2 if args.detailed_exitcode and plan.has_changes else 0
