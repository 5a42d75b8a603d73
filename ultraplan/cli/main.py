"""The command line. Each verb is a module with `configure(parser)` and `run(args) -> exit code`, imported when used.

Exit codes: 0 done or nothing to do, 1 failed (and rolled back), 2 changes with --detailed-exitcode, otherwise usage
or a mistake in a source, 3 the saved plan is stale, 4 rollback incomplete, 5 in doubt, 6 locked, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "validate": "check plans: every mistake at once, no host touched",
    "plan": "look at the hosts, change nothing, show what would happen",
    "apply": "carry out a plan or a saved plan",
    "resume": "go on with a run that was interrupted, paused or killed",
    "rollback": "undo a run",
    "resolve": "say how an operation ended that only a person can know of",
    "runs": "list, show, follow and prune runs",
    "diff": "compare two saved plans or runs",
    "graph": "show what waits for what: text, DOT or Mermaid",
    "backup": "make, list, verify, restore and prune backup sets",
    "inventory": "list, graph or ping the hosts",
    "steps": "the step types, each with its parameters and an example",
    "init": "start a repository of plans",
    "completion": "print a shell completion script",
}
"""Every verb, with what it is for."""

USAGE, INTERRUPTED = 2, 130


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser; only ``verb`` gets its options (None: all do, for completion)."""
    from ultraplan import __version__

    top = argparse.ArgumentParser(
        prog="ultraplan", allow_abbrev=False,
        description="Recovery procedures as plans that are previewed, journaled, and undone by themselves.",
        epilog="`ultraplan VERB --help` says more. Exit codes: 0 done, 1 failed (rolled back), 2 changes or usage, "
               "3 stale, 4 rollback incomplete, 5 in doubt, 6 locked, 130 interrupted.")
    top.add_argument("--version", action="version", version=f"ultraplan {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, purpose in VERBS.items():
        sub = verbs.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".",
                               allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        if verb is None or verb == name:
            import_module(f"ultraplan.cli.{name}").configure(sub)
    return top


def main(argv: Sequence[str]) -> int:
    """Run one command line; gives the exit code."""
    verb = next((word for word in argv if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS and argv[0] == verb:
        return _unknown(verb)
    top = parser(verb if verb in VERBS else "")
    try:
        args = top.parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    if args.verb is None:
        top.print_help()
        return USAGE
    from ultraplan.cli.failures import explained

    module = import_module(f"ultraplan.cli.{args.verb}")
    return explained(module.run, args)


def _unknown(verb: str) -> int:
    from ultraplan.language.errors import did_you_mean

    print(f"ultraplan: there is no verb {verb!r}; {did_you_mean(verb, VERBS) or 'ultraplan --help lists them'}",
          file=sys.stderr)
    return USAGE


def entry() -> None:
    """The console script."""
    # Python has None for a stream that was closed before it began.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
                              for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # arrows and other people's text, wherever it goes
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output is gone; Python would complain about it once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    entry()
