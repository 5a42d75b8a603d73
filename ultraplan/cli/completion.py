"""``ultraplan completion``: a shell's completion script."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

EXAMPLES = """\
examples:
  ultraplan completion bash > ~/.local/share/bash-completion/completions/ultraplan
  ultraplan completion zsh > "${fpath[1]}/_ultraplan"
  ultraplan completion fish > ~/.config/fish/completions/ultraplan.fish
"""

FILES = ("PLAN", "FILE", "SOURCE")
FOLDERS = ("FOLDER",)
RUNS = {"bash": "_ultraplan_runs", "zsh": "_ultraplan_runs", "fish": "(ultraplan runs list --ids 2>/dev/null)"}
PREAMBLE = {
    "bash": '_ultraplan_runs() { compgen -W "last $(ultraplan runs list --ids 2>/dev/null)" -- "$1"; }',
    "zsh": '_ultraplan_runs() { compadd -- last ${(f)"$(ultraplan runs list --ids 2>/dev/null)"}; }',
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh", "fish"), help="bash, zsh, tcsh, fish")
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    import shtab

    from ultraplan.cli.main import parser

    top = parser()
    kinds: dict[str, Any] = dict.fromkeys(FILES, shtab.FILE) | dict.fromkeys(FOLDERS, shtab.DIRECTORY)
    _teach(top, {**kinds, "RUN": RUNS})
    print(shtab.complete(top, shell=args.shell, preamble=PREAMBLE))  # type: ignore[arg-type]  # shtab takes a mapping by shell
    return 0


def _teach(parser: argparse.ArgumentParser, kinds: Mapping[str, Any]) -> None:
    """Tell shtab what each argument takes, by its metavar. argparse has no public way to walk a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _teach(sub, kinds)
        elif isinstance(action.metavar, str) and action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
