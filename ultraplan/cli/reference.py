"""The reference page of the command line, from the parsers: ``python -m ultraplan.cli.reference`` prints it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from ultraplan.cli.main import VERBS, Parser, parser

HEAD = """\
# The command line

Generated from the program by `python -m ultraplan.cli.reference`; a test keeps it current. `ultraplan VERB --help` says
the same. [Exit codes](exit-codes.md) and [environment variables](environment.md) have pages of their own.
"""

EVERYWHERE = {
    "--state": "`--state FOLDER`: the folder of journals and pre-images (else `$ULTRAPLAN_STATE`, `ultraplan.yaml`, or "
               "the XDG state folder)",
    "--json": "`--json`: versioned JSON, for programs; one object a line (NDJSON) while a run goes on",
    "--no-color": "`--no-color`: plain text even on a terminal; `NO_COLOR` in the environment does the same",
}
"""Options that nearly every verb takes, told once."""


def markdown() -> str:
    """The page."""
    top = parser()
    verbs = {name: below for name, below in _below(top) if name in VERBS}
    rows = [HEAD, "| verb | is for |", "|---|---|", *(f"| [`{name}`](#{name}) | {VERBS[name]} |" for name in verbs), "",
            "Options that most verbs have:", "", *(f"- {text}" for text in EVERYWHERE.values()), ""]
    for name, verb in verbs.items():
        rows += _verb(f"ultraplan {name}", f"## {name}", verb, VERBS[name])
    return "\n".join(rows).rstrip("\n") + "\n"


def _verb(call: str, heading: str, verb: Parser, purpose: str) -> Iterator[str]:
    below = list(_below(verb))
    arguments = [action for action in verb._actions if not action.option_strings
                 and not isinstance(action, argparse._SubParsersAction)]
    options = [action for action in verb._actions if action.option_strings and "--help" not in action.option_strings
               and not EVERYWHERE.keys() & set(action.option_strings)]
    words = [call, *(["[OPTIONS]"] if options else []), *map(_place, arguments), *(["WHAT …"] if below else [])]
    yield from (heading, "", f"`{' '.join(words)}`", "", f"{purpose[0].upper()}{purpose[1:]}.", "")
    if arguments or options:
        yield from ("| | |", "|---|---|")
        yield from (f"| `{_name(action)}` | {_help(action)} |" for action in [*arguments, *options])
        yield ""
    if verb.epilog:
        yield from ("```sh", *textwrap.dedent(verb.epilog.partition("\n")[2]).rstrip().splitlines(), "```", "")
    for name, one in below:
        yield from _verb(f"{call} {name}", f"### {call.partition(' ')[2]} {name}", one, one.description or "")


def _below(verb: Parser) -> Iterator[tuple[str, Parser]]:
    for action in verb._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _place(action: argparse.Action) -> str:
    name = _value(action)
    return {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} …"}.get(str(action.nargs), name)


def _value(action: argparse.Action) -> str:
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    return "\\|".join(map(str, action.choices)) if action.choices is not None else action.dest.upper()


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action).replace("\\|", " or ")
    takes = "" if action.nargs == 0 else f" {_value(action)}".replace("\\|", " or ")
    return f"{', '.join(action.option_strings)}{takes}"


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("|", "\\|")
    return f"{text} (required)" if action.required and action.option_strings else text


if __name__ == "__main__":
    print(markdown(), end="")
