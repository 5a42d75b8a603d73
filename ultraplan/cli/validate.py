"""``ultraplan validate``: every static mistake at once."""

from __future__ import annotations

import argparse
import json

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan validate plans/upgrade.yaml -i inventories/prod.yaml
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the plan file")
    options.add_source(parser)
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    graph = options.graph(args)
    said = {"plan": graph.document.name, "steps": len(graph.nodes), "hosts": len(graph.hosts),
            "batches": len(graph.batches)}
    if args.json:
        print(json.dumps({"format": "ultraplan/validation", "version": 1, **said}))
    else:
        from ultraplan.cli.views.text import counted

        print(f"{args.plan}: ok: {counted(len(graph.nodes), 'step')}, {counted(len(graph.hosts), 'host')}, "
              f"{counted(len(graph.batches), 'batch', 'batches')}")
    return 0
