"""The command line. Each verb is a module with `configure(parser)` and `run(args) -> exit code`, imported when used.

Exit codes: 0 done or nothing to do, 1 failed (and rolled back), 2 changes with --detailed-exitcode, otherwise usage
or a mistake in a source, 3 the saved plan is stale, 4 rollback incomplete, 5 in doubt, 6 locked, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import NoReturn

VERBS = {
    "validate": "check plans: every mistake at once, no host touched",
    "plan": "look at the hosts, change nothing, show what would happen",
    "apply": "carry out a plan or a saved plan",
    "resume": "go on with a run that was interrupted, paused or killed",
    "rollback": "show what undoing a run would do, ask, and undo it",
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


class Parser(argparse.ArgumentParser):
    """Says what was probably meant where a word or an option does not exist."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)'", message)
        for action in self._actions if wrong else ():
            if action.choices is not None and (meant := _meant(wrong[1], map(str, action.choices))):  # type: ignore[index]
                message = f"there is no {wrong[1]!r}; {meant}"  # type: ignore[index]
        super().error(message)

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """End with what is wrong about ``words``, which the parser could make nothing of."""
        told = []
        for word in words:
            name = word.partition("=")[0]
            meant = _meant(name, self.options()) if name.startswith("-") else ""
            told.append(f"{word!r} is not understood" + (f"; {meant}" if meant else ""))
        super().error("; ".join(told))

    def below(self, verb: str | None) -> Parser | None:
        """The parser of a verb."""
        found = (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return next(found, {}).get(verb or "")

    def options(self) -> Iterator[str]:
        """Its long options, and those of what stands below it."""
        for action in self._actions:
            yield from (option for option in action.option_strings if option.startswith("--"))
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    yield from below.options()


def parser(verb: str | None = None) -> Parser:
    """The parser; only ``verb`` gets its options (None: all do, for completion and the reference page)."""
    from ultraplan import __version__

    top = Parser(
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
        args, rest = top.parse_known_args(argv)
        if rest:
            (top.below(verb) or top).unknown(rest)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    if args.verb is None:
        top.print_help()
        return USAGE
    from ultraplan.cli.failures import explained

    module = import_module(f"ultraplan.cli.{args.verb}")
    return explained(module.run, args)


def _unknown(verb: str) -> int:
    print(f"ultraplan: there is no verb {verb!r}; {_meant(verb, VERBS) or 'ultraplan --help lists them'}",
          file=sys.stderr)
    return USAGE


def _meant(word: str, known: Iterable[str]) -> str:
    from ultraplan.language.errors import did_you_mean

    return did_you_mean(word, list(known)) or ""


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
