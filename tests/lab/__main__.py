"""The lab's command line: `python -m tests.lab up 3`, as root."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from itertools import cycle, islice
from pathlib import Path

from tests.lab.client import Lab
from tests.lab.spec import Kind, LabError, Options, default_root

EPILOG = "The lab's folder is $LAB_DIR, else /run/ultraplan-lab/default; different folders are different labs."


def _kinds(arguments: argparse.Namespace) -> tuple[Kind, ...]:
    if arguments.kinds:
        try:
            kinds = [Kind(k) for k in str(arguments.kinds).split(",")]
        except ValueError:
            raise LabError(f"kinds are {', '.join(Kind)}, not {arguments.kinds!r}") from None
        return tuple(islice(cycle(kinds), arguments.n))
    more = (Kind.BUSYBOX,) * arguments.busybox + (Kind.SYSTEMD,) * arguments.systemd
    counted: tuple[Kind, ...] = (Kind.DEBIAN,) * arguments.n + more
    return counted


def _up(arguments: argparse.Namespace, root: Path) -> None:
    options = Options(_kinds(arguments), delay_ms=arguments.delay, pam=arguments.pam, owner=arguments.owner)
    lab = Lab.up(options, root, keep=True)
    folder = shlex.quote(str(root))
    print(
        f"{len(lab.hosts)} hosts are up: {', '.join(lab.hosts)}\n\n"
        f"  ssh -F {folder}/ssh_config {next(iter(lab.hosts))}\n"
        f"  ultraplan inventory list -i {folder}/inventory.yaml\n"
        f"  ultraplan plan PLAN.yaml -i {folder}/inventory.yaml\n"
        f"  python3 -m tests.lab cut|heal|kill|boot|reset HOST...      (as root; see docs/how-to/lab.md)\n"
        f"  make lab-down"
    )


def _list(lab: Lab) -> None:
    pids = lab.pids()
    for host in lab.hosts.values():
        print(f"{host.name:6} {host.kind:8} {host.address:15} {'up' if host.name in pids else 'down'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__, epilog=EPILOG)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start N hosts (h1 …), K of busybox (b1 …), K of systemd (s1 …)")
    up.add_argument("n", type=int, metavar="N")
    up.add_argument("--kinds", help="of these kinds in turn instead, e.g. debian,busybox,systemd")
    up.add_argument("--busybox", type=int, default=0, metavar="K")
    up.add_argument("--systemd", type=int, default=0, metavar="K")
    up.add_argument("--delay", type=float, default=0, metavar="MS", help="one way; a round trip takes twice as long")
    up.add_argument("--pam", action="store_true", help="sshd uses PAM")
    up.add_argument("--owner", type=int, default=os.geteuid(), metavar="UID", help="who may use the client files")
    verbs.add_parser("down", help="stop all hosts, leave nothing")
    verbs.add_parser("list", help="the hosts and whether they are up")
    for verb, text in (
        ("cut", "lose all packets from and to hosts, silently"),
        ("heal", "end a cut"),
        ("kill", "power loss: no FIN is sent, the disk stays"),
        ("boot", "start again with the same disk"),
        ("reset", "wipe the disk, boot"),
    ):
        verbs.add_parser(verb, help=text).add_argument("hosts", nargs="+", metavar="HOST")
    sh = verbs.add_parser("sh", help="run a command inside a host, not over SSH (without one, its shell)")
    sh.add_argument("host", metavar="HOST")
    sh.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    tree = verbs.add_parser("tree", help="list files as JSON lines: PATHS, or what differs from the host's image")
    tree.add_argument("host", metavar="HOST")
    tree.add_argument("paths", nargs="*", metavar="PATH")
    tree.add_argument("--ctimes", action="store_true", help="with the times of last change")
    return parser


def main() -> int:
    """Runs one verb; returns the exit status."""
    arguments, root = _parser().parse_args(), default_root()
    try:
        if arguments.verb == "up":
            _up(arguments, root)
            return 0
        lab = Lab(root)
        match arguments.verb:
            case "down":
                lab.down()
            case "list":
                _list(lab)
            case "sh":
                argv = [*lab.enter(arguments.host), *(arguments.command or ["sh"])]
                os.execvp(argv[0], argv)
            case "tree":
                for path, entry in lab.tree(arguments.host, arguments.paths or None, arguments.ctimes).items():
                    print(json.dumps({"path": path, **entry}))
            case verb:
                getattr(lab, verb)(*arguments.hosts)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
