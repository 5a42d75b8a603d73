"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultraplan.engine.compiled import Request
    from ultraplan.engine.job import Job
    from ultraplan.engine.settings import Settings
    from ultraplan.graph.model import Graph
    from ultraplan.journal.base import Store
    from ultraplan.language.errors import Diagnostic


def add_source(parser: argparse.ArgumentParser) -> None:
    """Which hosts and which inputs."""
    group = parser.add_argument_group("what to work on")
    group.add_argument("-i", "--inventory", action="append", default=[], metavar="SOURCE",
                       help="inventory file, folder, script or 'host,' list (repeatable)")
    group.add_argument("-e", "--input", action="append", default=[], metavar="NAME=VALUE", dest="inputs",
                       help="an input, or @FILE with inputs in YAML (repeatable)")
    group.add_argument("-l", "--limit", metavar="PATTERN", help="only these of the plan's hosts")
    group.add_argument("-t", "--tags", action="append", default=[], metavar="TAG", help="only steps with this tag")
    group.add_argument("--skip-tags", action="append", default=[], metavar="TAG", help="no steps with this tag")


def add_state(parser: argparse.ArgumentParser) -> None:
    """Where journals are."""
    parser.add_argument("--state", metavar="FOLDER", help="folder of journals and pre-images "
                        "(default: $ULTRAPLAN_STATE, ultraplan.yaml, or the XDG state folder)")


def add_output(parser: argparse.ArgumentParser) -> None:
    """How to tell it."""
    parser.add_argument("--json", action="store_true", help="versioned JSON, for programs (NDJSON while running)")
    parser.add_argument("--no-color", action="store_true", help="plain text even on a terminal (also: NO_COLOR)")


def settings(args: argparse.Namespace) -> Settings:
    """The settings for a command line."""
    from ultraplan.engine.settings import find_settings

    return find_settings(Path.cwd(), os.environ, getattr(args, "state", None))


def compiled(args: argparse.Namespace) -> Job:
    """The plan that a command line names, compiled, with a way to its hosts. Raises `SourceError` with every mistake,
    those in ``-e`` too."""
    from ultraplan.engine.job import compile_job

    asked, wrong = request(args)
    return compile_job(asked, settings(args), mistakes=wrong)


def graph(args: argparse.Namespace) -> Graph:
    """The graph of the plan that a command line names; raises as `compiled`."""
    from ultraplan.engine.compiled import compile_request

    asked, wrong = request(args)
    return compile_request(asked, settings(args), mistakes=wrong).graph


def request(args: argparse.Namespace) -> tuple[Request, list[Diagnostic]]:
    """What a command line asks for, and what is wrong with its ``-e``."""
    from ultraplan.engine.compiled import Request, inputs_in
    from ultraplan.language.inputs import examine_extra

    given, wrong = examine_extra(args.inputs)
    # Inputs from the environment are taken now, so that a saved plan holds them.
    return Request(plan=args.plan, inventory=tuple(args.inventory), given=given, limit=args.limit,
                   environment=inputs_in(os.environ), tags=_split(args.tags), skip_tags=_split(args.skip_tags),
                   folder=str(Path.cwd())), wrong


def store(args: argparse.Namespace) -> Store:
    """The journal store for a command line."""
    from ultraplan.journal.stores import open_store

    return open_store(settings(args).store)


def colored(args: argparse.Namespace) -> bool:
    """Whether to colour: on a terminal, unless told not to."""
    return sys.stdout.isatty() and not args.no_color and not os.environ.get("NO_COLOR")


def agreed(question: str) -> bool:
    """Whether the person at the terminal types ``yes`` in full."""
    try:
        answer = input(question)
    except EOFError:
        answer = ""
        print()
    if answer.strip() != "yes":
        print("nothing was touched")
        return False
    return True


def _split(tags: list[str]) -> tuple[str, ...]:
    return tuple(part for tag in tags for part in tag.split(",") if part)
