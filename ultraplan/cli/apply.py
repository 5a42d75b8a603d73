"""``ultraplan apply``: show the plan, ask, do it; or do exactly what a saved plan says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ultraplan.cli import options

if TYPE_CHECKING:
    from ultraplan.engine.job import Job
    from ultraplan.engine.plan import Plan

EXAMPLES = """\
examples:
  ultraplan apply plans/upgrade.yaml -i inventories/prod.yaml -e version=1.4
  ultraplan plan plans/upgrade.yaml -o monday.plan && ultraplan apply monday.plan
  ultraplan apply plans/upgrade.yaml --limit 'web[0:2]' --yes --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="a plan file, or a plan saved by `ultraplan plan -o FILE`")
    options.add_source(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask (required without a terminal)")
    options.add_state(parser)
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.cli.watching import watching
    from ultraplan.engine.runs import NotPossible, apply, preview
    from ultraplan.engine.saved import is_saved

    path = Path(args.plan)
    if not args.yes and (args.json or not (sys.stdin.isatty() and sys.stdout.isatty())) and not is_saved(path):
        raise NotPossible("without a terminal to ask on, say --yes (or apply a saved plan)")
    if is_saved(path):
        job, plan = _saved(args, path)
    else:
        job = options.compiled(args)
        plan = preview(job)
    try:
        if not _agreed(args, job, plan, saved=is_saved(path)):
            return 1
        if not plan.has_changes and not any(one.action == "check" for one in plan.predictions.values()):
            _nothing(args, plan)
            return 0
        store = options.store(args)
        try:
            with watching(args, job.secrets, store) as watch:
                return watch.closed(apply(job, plan, store, watch.watch), job.name.id, job.graph.hosts)
        finally:
            store.close()
    finally:
        job.close()


def _saved(args: argparse.Namespace, path: Path) -> tuple[Job, Plan]:
    """The job and the fresh preview of a saved plan; raises `Stale` where they differ from what was saved."""
    from ultraplan.engine.job import compile_job
    from ultraplan.engine.runs import NotPossible, digests, preview
    from ultraplan.engine.saved import Stale, check_hosts, check_sources, load

    if args.inventory or args.inputs or args.limit or args.tags or args.skip_tags:
        raise NotPossible("a saved plan has its inventory, inputs and limits already; nothing can be added to it")
    saved = load(path)
    store = options.store(args)
    try:
        if any(one.run == saved.name.id for one in store.runs()):
            raise Stale([f"it was applied before, as run {saved.name.id}"])
    finally:
        store.close()
    job = compile_job(saved.request, options.settings(args), name=saved.name)
    try:
        plan = preview(job)
        check_sources(saved, digests(job))
        check_hosts(saved, plan)
    except BaseException:
        job.close()
        raise
    return job, plan


def _agreed(args: argparse.Namespace, job: Job, plan: Plan, *, saved: bool) -> bool:
    """Show the plan; whether to go on. A plan that cannot succeed is not begun."""
    from ultraplan.cli.views.plan_text import plan_text

    if not args.json and not saved:
        print(plan_text(plan, job.secrets, color=options.colored(args)))
        print()
    if plan.impossible:
        _refuse(args, "as the hosts are, this plan would fail; nothing was touched")
        return False
    allowed = plan.graph.max_unreachable_percentage
    if plan.unreachable and 100 * len(plan.unreachable) / len(plan.graph.hosts) > allowed:
        rows = "".join(f"\n  {host}: {why}" for host, why in plan.unreachable.items())
        _refuse(args, f"hosts cannot be reached; nothing was touched:{rows}")
        return False
    if args.yes or saved or not plan.has_changes:
        return True
    return options.agreed("Do this? Only 'yes' goes on: ")


def _refuse(args: argparse.Namespace, why: str) -> None:
    import json

    if args.json:
        print(json.dumps({"format": "ultraplan/error", "version": 1, "kind": "refused", "message": why}))
    else:
        print(why, file=sys.stderr)


def _nothing(args: argparse.Namespace, plan: Plan) -> None:
    import json

    if args.json:
        print(json.dumps({"format": "ultraplan/result", "version": 1, "status": "nothing", "summary": plan.summary}))
    else:
        print(f"nothing to do: {plan.summary}")
