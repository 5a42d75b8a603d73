"""``ultraplan steps``: the step types, documented from their schemas."""

from __future__ import annotations

import argparse
import json

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan steps
  ultraplan steps file
  ultraplan steps service --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one step type, with everything about it")
    parser.add_argument("--markdown", action="store_true", help="the reference page docs/reference/steps.md")
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.cli.views.step_docs import describe, markdown, text
    from ultraplan.engine.runs import NotPossible
    from ultraplan.language.errors import did_you_mean
    from ultraplan.steps.registry import registry

    types = registry()
    if args.name is not None and args.name not in types:
        meant = did_you_mean(args.name, types)
        raise NotPossible(f"there is no step type {args.name!r}; {meant or 'ultraplan steps lists them'}")
    told = [describe(types[name]) for name in ([args.name] if args.name else types)]
    if args.json:
        print(json.dumps({"format": "ultraplan/steps", "version": 1, "steps": told}, ensure_ascii=False))
    elif args.markdown:
        print(markdown(told), end="")
    elif args.name:
        print(text(told[0], color=options.colored(args)))
    else:
        from ultraplan.cli.views.table import table

        print(table(("STEP", "WAY BACK", "WHAT IT IS FOR"),
                    [(one["name"], one["way_back"], one["summary"]) for one in told]))
        print("\nultraplan steps NAME shows its parameters, outputs and an example")
    return 0
