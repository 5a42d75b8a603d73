"""``ultraplan rollback``."""

from __future__ import annotations

import argparse

from ultraplan.cli.going_on import configure as configure_going_on
from ultraplan.cli.going_on import go_on


def configure(parser: argparse.ArgumentParser) -> None:
    configure_going_on(parser)


def run(args: argparse.Namespace) -> int:
    from ultraplan.engine.runs import rollback

    return go_on(args, rollback)
