"""``ultraplan backup restore``."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultraplan.cli import backup_common as common
from ultraplan.cli import options
from ultraplan.cli.views.moving import Moving
from ultraplan.cli.views.paint import paint, visible

if TYPE_CHECKING:
    from ultraplan.backup.difference import Difference

MOST_SHOWN = 200
"""Differences that a preview spells out for people."""

_SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


def run(args: argparse.Namespace) -> int:
    if args.undo is not None:
        return _undo(args)
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.read import Reading
    from ultraplan.backup.restore import Wanted, preview, restore

    if args.set is None or args.target is None:
        raise Refused("a set and a target are needed", "ultraplan backup restore NAME --target FOLDER (/ is in place)")
    if not args.dry_run and not args.yes and (args.json or not sys.stdin.isatty()):
        raise Refused("there is nobody to ask", "--yes restores without a question, --dry-run only looks")
    wanted = Wanted(target=Path(args.target), paths=[_member(path) for path in args.paths],
                    numeric=args.numeric_owner, allow_devices=args.allow_devices)
    with closing(common.store(args)) as store:
        opened = common.opened(args, store)
        size = opened.manifest.objects["data.tar.zst.age"].size
        moving = Moving("checked", size)
        reading = Reading(identities=common.keys(args).identities, limit=common.limit(args), tick=moving.tick)
        if args.dry_run or not args.yes:
            try:
                found = preview(store, opened, reading, wanted)
                first = list(islice(found, 1))
            finally:
                moving.end()
            counts = _show(args, first, found)
            if args.dry_run or not sum(counts.values()):
                return 0
            if not options.agreed("Restore this? Only 'yes' goes on: "):
                return 1
        moving = Moving("read", 2 * size)
        reading = Reading(identities=reading.identities, limit=reading.limit, tick=moving.tick)
        try:
            done = restore(store, opened, reading, wanted)
        finally:
            moving.end()
    places = [str(unit.to) for unit in done.units]
    kept = [str(folder) for folder in done.preimages]
    if args.json:
        common.tell_json("backup-restored", {"name": opened.found.name, "set": opened.found.set, "restored": places,
                                             "preimages": kept})
        return 0
    print(f"{opened.found.ref}: restored {', '.join(map(visible, places))}")
    for folder in kept:
        print(f"what was there before is in {visible(folder)}\n"
              f"  to take it back: ultraplan backup restore --undo {visible(folder)}\n"
              "  when all is well: remove that folder")
    return 0


def _member(path: str) -> bytes:
    return os.fsencode(path).strip(b"/") or b"."


def _show(args: argparse.Namespace, first: list[Difference], rest: Any) -> dict[str, int]:
    """Tell what would change, and count it."""
    counts = dict.fromkeys(_SIGNS, 0)
    color, rows = options.colored(args), []
    for difference in (*first, *rest):
        counts[difference.action] += 1
        path = visible(difference.path.decode("utf-8", "backslashreplace"))
        if args.json:
            rows.append({"action": difference.action, "path": path, "type": difference.kind, "fields": [
                {"field": name, "before": before, "after": after} for name, before, after in difference.fields]})
        elif sum(counts.values()) <= MOST_SHOWN:
            sign, tone = _SIGNS[difference.action]
            print(paint(f"{sign} {difference.kind} /{path}", tone, color))
            for name, before, after in difference.fields:
                print(f"    {visible(f'{name}: {before} → {after}')}")
    if args.json:
        common.tell_json("backup-difference", {"differences": rows, "counts": counts})
        return counts
    if sum(counts.values()) > MOST_SHOWN:
        print(f"… and {sum(counts.values()) - MOST_SHOWN} more")
    if sum(counts.values()):
        print(f"{counts['create']} to create, {counts['change']} to change, {counts['remove']} to remove "
              "(what is there is kept until you remove it)")
    else:
        print("nothing to restore: everything is as it was backed up")
    return counts


def _undo(args: argparse.Namespace) -> int:
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.swap import open_stage

    if args.set is not None:
        raise Refused("--undo takes the folder of an earlier restore, and no set")
    changed = [str(path) for path in open_stage(Path(args.undo).absolute()).undo()]
    if args.json:
        common.tell_json("backup-undone", {"paths": changed})
    else:
        print(f"as before the restore: {', '.join(map(visible, changed)) or 'everything'}")
    return 0
