"""``ultraplan backup keygen``, ``prune``, ``freshness``, ``hold`` and ``release``."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ultraplan.cli import backup_common as common
from ultraplan.cli import options
from ultraplan.cli.views.moving import size
from ultraplan.cli.views.paint import visible
from ultraplan.cli.views.text import counted

if TYPE_CHECKING:
    from ultraplan.backup.stores.base import Store
    from ultraplan.backup.upkeep import Pruning


def run(args: argparse.Namespace) -> int:
    if args.what == "keygen":
        return _keygen(args)
    with closing(common.store(args)) as store:
        if args.what == "prune":
            return _prune(args, store)
        if args.what == "freshness":
            return _freshness(args, store)
        return _hold(args, store)


def _keygen(args: argparse.Namespace) -> int:
    from ultraplan.backup.keys import keygen, read_keys

    key, pub, signing = keygen(Path(args.folder), args.kept_on)
    recipient = read_keys([pub]).recipients[0].key
    if args.json:
        common.tell_json("backup-keys", {"recovery_key": str(key), "recovery_pub": str(pub),
                                         "signing_key": str(signing), "recipient": recipient})
    else:
        print(f"{visible(str(key))}: move it to {visible(args.kept_on)}; it alone reads the backups\n"
              f"{visible(str(pub))}: for `create`, `list`, `prune` and `freshness`\n"
              f"{visible(str(signing))}: for `create`, on the host that makes backups")
    return 0


def _prune(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.retention import Policy
    from ultraplan.backup.upkeep import preview_prune, prune

    within = common.duration(args.keep_within, "--keep-within") if args.keep_within else 0.0
    policy = Policy(last=args.keep_last, hourly=args.keep_hourly, daily=args.keep_daily, weekly=args.keep_weekly,
                    monthly=args.keep_monthly, yearly=args.keep_yearly, within=within)
    policy.check()
    if not args.dry_run and not args.yes and (args.json or not sys.stdin.isatty()):
        raise Refused("there is nobody to ask", "--yes removes without a question, --dry-run only looks")
    pruning = preview_prune(store, common.keys(args).signers, policy, datetime.now(UTC), args.name)
    going = [*(one.found.ref for one in pruning.going), *(one.ref for one in pruning.remains)]
    gone: list[str] = []
    if not args.json:
        _print_verdicts(pruning)
    if not args.dry_run:
        if going and not args.yes and not options.agreed(
                f"Remove {counted(len(going), 'set')}? Only 'yes' goes on: "):
            return 1
        gone = prune(store, pruning)
    if args.json:
        common.tell_json("backup-prune", {
            "sets": [{"set": one.candidate.set, "stays": one.stays, "reasons": list(one.reasons)}
                     for one in pruning.verdicts],
            "refused": [{"set": found.ref, "why": why} for found, why in pruning.bad],
            "remains": [one.ref for one in pruning.remains], "removed": gone})
    elif not args.dry_run:
        print(f"removed {counted(len(gone), 'set')}")
    return 0


def _print_verdicts(pruning: Pruning) -> None:
    for verdict in pruning.verdicts:
        sign = " " if verdict.stays else "-"
        print(f"{sign} {verdict.candidate.set}  {visible(', '.join(verdict.reasons)) or 'no rule keeps it'}")
    for found, why in pruning.bad:
        print(f"! {found.ref}  stays, counts for nothing: {visible(why)}")
    for one in pruning.remains:
        print(f"- {one.ref}  never completed")
    freed = sum(one.found.size for one in pruning.going) + sum(one.size for one in pruning.remains)
    print(f"{counted(len(pruning.going) + len(pruning.remains), 'set')} to remove, {size(freed)}")


def _freshness(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.backup.upkeep import freshness

    rpo = timedelta(seconds=common.duration(args.rpo, "--rpo"))
    signers, now = common.keys(args).signers, datetime.now(UTC)
    told = [freshness(store, signers, name, rpo, now, args.level) for name in args.name]
    if args.json:
        rows = [{"name": one.name, "set": one.set, "fresh": one.fresh, "why": one.why,
                 "age": one.age.total_seconds() if one.age is not None else None} for one in told]
        common.tell_json("backup-freshness", {"fresh": all(one.fresh for one in told), "rpo": rpo.total_seconds(),
                                              "names": rows})
    for one in told if not args.json else ():
        state = "fresh" if one.fresh else "STALE"
        age = f"goes back {_ago(one.age)}, {args.rpo} allowed" if one.age is not None and not one.why else one.why
        print(f"{state}: {one.name}: {visible(age)}")
    return 0 if all(one.fresh for one in told) else 1


def _ago(age: timedelta) -> str:
    from ultraplan.language.values import Duration

    seconds = max(0.0, age.total_seconds())
    return str(Duration(round(seconds) if seconds < 60 else round(seconds / 60) * 60))


def _hold(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.backup.catalogue import hold, release

    found = common.chosen(args, store)
    if args.what == "hold":
        hold(store, found, args.holder, args.reason)
    else:
        release(store, found, args.holder)
    if args.json:
        common.tell_json("backup-hold", {"set": found.ref, "holder": args.holder, "held": args.what == "hold"})
    else:
        print(f"{found.ref}: {'held by' if args.what == 'hold' else 'let go by'} {args.holder}")
    return 0
