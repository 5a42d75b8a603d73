"""``ultraplan backup``: make sets, look at them, verify and restore them, let old ones go, tell how fresh they are."""

from __future__ import annotations

import argparse
import os
from importlib import import_module

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan backup keygen keys --kept-on "office safe"
  ultraplan backup create web1-etc /etc/mcp-bridge --key keys/recovery.pub --signing-key keys/signing.key
  ultraplan backup verify web1-etc --level restore --key keys/recovery.key
  ultraplan backup restore web1-etc --target / --dry-run --key keys/recovery.key
  ultraplan backup prune --keep-daily 7 --keep-within 30d --key keys/recovery.pub
  ultraplan backup freshness web1-etc --rpo 24h --key keys/recovery.pub || page-somebody
"""

STORE, KEYS, SIGNING = "ULTRAPLAN_BACKUP_STORE", "ULTRAPLAN_BACKUP_KEYS", "ULTRAPLAN_BACKUP_SIGNING_KEY"
"""Variables that stand in for options."""

_MODULES = {"keygen": "backup_upkeep", "prune": "backup_upkeep", "freshness": "backup_upkeep", "hold": "backup_upkeep",
            "release": "backup_upkeep", "list": "backup_sets", "show": "backup_sets", "verify": "backup_sets",
            "create": "backup_create", "restore": "backup_restore"}


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    parser.epilog = EXAMPLES

    def add(name: str, text: str, *, stored: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if stored:
            sub.add_argument("--store", metavar="URL", default=os.environ.get(STORE),
                             help=f"/path, ssh://HOST/path or s3://BUCKET/PREFIX (default: ${STORE})")
            sub.add_argument("--key", metavar="FILE", action="append", default=[], dest="keys",
                             help=f"recovery.key or recovery.pub (repeatable; default: ${KEYS}, separated by ':')")
        options.add_output(sub)
        return sub

    def one(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("set", metavar="NAME[/SET]", help="the set, or the start of it (default: the newest)")

    def moving(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--limit-rate", metavar="SIZE", help="move at most this much a second (10MB)")

    keys = add("keygen", "make a recovery key and a signing key", stored=False)
    keys.add_argument("folder", metavar="FOLDER", help="where to; nothing is overwritten")
    keys.add_argument("--kept-on", metavar="PLACE", required=True,
                      help="the host or place where recovery.key will be kept: not what it backs up")

    create = add("create", "make a set of files of this machine")
    create.add_argument("name", metavar="NAME", help="what it is a backup of: web1-etc")
    create.add_argument("paths", metavar="PATH", nargs="+", help="files and folders, absolute")
    create.add_argument("--exclude", metavar="PATTERN", action="append", default=[],
                        help="leave out; a pattern with a slash is held against the whole path (repeatable)")
    create.add_argument("--one-file-system", action="store_true", help="do not go into what is mounted below")
    create.add_argument("--signing-key", metavar="FILE", default=os.environ.get(SIGNING),
                        help=f"signing.key (default: ${SIGNING})")
    create.add_argument("--unchanged", action="store_true",
                        help="fail, and make no set, where a file changed while it was read")
    moving(create)

    add("list", "the sets there are, newest first").add_argument("name", metavar="NAME", nargs="?", default=None)

    show = add("show", "what a set is: its manifest, and its files")
    one(show)
    show.add_argument("--files", action="store_true", help="also the list of files (needs recovery.key)")

    verify = add("verify", "check a set; exit 1 where it is not what it was")
    one(verify)
    verify.add_argument("--level", choices=("manifest", "read", "restore"), default="read",
                        help="manifest: signature and sizes; read (default): every byte; restore: unpacked, compared")
    verify.add_argument("--scratch", metavar="FOLDER",
                        help="where level restore unpacks (default: the temporary folder)")
    moving(verify)

    restore = add("restore", "put a set, or parts of it, back in place")
    restore.add_argument("set", metavar="NAME[/SET]", nargs="?",
                         help="the set, or the start of it (default: the newest)")
    restore.add_argument("paths", metavar="PATH", nargs="*", default=[], help="only these, as they were called")
    restore.add_argument("--target", metavar="FOLDER", help="the folder that stands for /; / restores in place")
    restore.add_argument("--dry-run", action="store_true",
                         help="check the set and show what would change; write nothing")
    restore.add_argument("--yes", action="store_true", help="do not ask")
    restore.add_argument("--numeric-owner", action="store_true", help="owners by number instead of by name")
    restore.add_argument("--allow-devices", action="store_true", help="also device files")
    restore.add_argument("--undo", metavar="FOLDER", help="take back an earlier restore, from the folder that it named")
    moving(restore)

    prune = add("prune", "remove the sets that no rule keeps")
    prune.add_argument("name", metavar="NAME", nargs="?", default=None)
    for rule in ("last", "hourly", "daily", "weekly", "monthly", "yearly"):
        prune.add_argument(f"--keep-{rule}", metavar="N", type=int, default=0)
    prune.add_argument("--keep-within", metavar="TIME", help="everything younger than this (30d)")
    prune.add_argument("--dry-run", action="store_true", help="show what would go, and why the rest stays")
    prune.add_argument("--yes", action="store_true", help="do not ask")

    fresh = add("freshness", "exit 0 where the newest good set is young enough, else 1")
    fresh.add_argument("name", metavar="NAME", nargs="+")
    fresh.add_argument("--rpo", metavar="TIME", required=True, help="how far back it may lie (24h)")
    fresh.add_argument("--level", choices=("manifest", "read", "restore"), default=None,
                       help="count only sets that passed `verify` at this level")

    hold = add("hold", "keep a set from being pruned")
    one(hold)
    hold.add_argument("holder", metavar="WHO", help="a run or a ticket")
    hold.add_argument("--reason", default="", help="for the people who wonder")
    release = add("release", "let a held set go")
    one(release)
    release.add_argument("holder", metavar="WHO")


def run(args: argparse.Namespace) -> int:
    if args.what != "keygen" and not args.keys:
        args.keys = [file for file in os.environ.get(KEYS, "").split(os.pathsep) if file]
    code: int = import_module(f"ultraplan.cli.{_MODULES[args.what]}").run(args)
    return code
