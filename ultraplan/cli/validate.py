"""``ultraplan validate``: every static mistake at once."""

from __future__ import annotations

import argparse
import json

from ultraplan.cli import options


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the plan file")
    options.add_source(parser)
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    from ultraplan.engine.job import compile_job

    job = compile_job(options.request(args), options.settings(args))
    graph = job.graph
    said = {"plan": graph.document.name, "steps": len(graph.nodes), "hosts": len(graph.hosts),
            "batches": len(graph.batches)}
    if args.json:
        print(json.dumps({"format": "ultraplan/validation", "version": 1, **said}))
    else:
        print(f"{args.plan}: ok: {said['steps']} steps, {said['hosts']} hosts, {said['batches']} batches")
    return 0
