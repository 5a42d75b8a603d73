"""``ultraplan graph``: what waits for what."""

from __future__ import annotations

import argparse
import json

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan graph plans/upgrade.yaml -i inventories/prod.yaml
  ultraplan graph plans/upgrade.yaml --format dot | dot -Tsvg > upgrade.svg
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the plan file")
    parser.add_argument("--format", choices=("text", "dot", "mermaid"), default="text",
                        help="text for people (the default), Graphviz DOT, or a Mermaid flowchart")
    options.add_source(parser)
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.graph import render
    from ultraplan.secrets import shown
    from ultraplan.steps.registry import registry

    graph = options.graph(args)
    ways = render.ways_back(registry())
    if args.json:
        print(json.dumps({
            "format": "ultraplan/graph", "version": 1, "plan": graph.document.name, "hosts": list(graph.hosts),
            "batches": [list(batch) for batch in graph.batches],
            "steps": [{"id": node.id, "type": node.step.type, "hosts": list(node.hosts), "needs": list(node.needs),
                       "reads": sorted(node.reads), "way_back": ways(node)} for node in graph.nodes.values()],
        }, ensure_ascii=False))
        return 0
    draw = {"text": render.to_text, "dot": render.to_dot, "mermaid": render.to_mermaid}[args.format]
    print(shown(draw(graph, ways)), end="")
    return 0
