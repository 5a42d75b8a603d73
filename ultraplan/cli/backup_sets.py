"""``ultraplan backup list``, ``show`` and ``verify``."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultraplan.cli import backup_common as common
from ultraplan.cli.views.moving import Moving, size
from ultraplan.cli.views.paint import visible
from ultraplan.cli.views.text import lasting

if TYPE_CHECKING:
    from ultraplan.backup.catalogue import Found, Opened
    from ultraplan.backup.members import Member
    from ultraplan.backup.stores.base import Store


def run(args: argparse.Namespace) -> int:
    with closing(common.store(args)) as store:
        if args.what == "list":
            return _list(args, store)
        if args.what == "show":
            return _show(args, store)
        return _verify(args, store)


def _list(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.backup.catalogue import find, verified
    from ultraplan.backup.upkeep import survey

    rows: list[dict[str, Any]] = []
    if args.keys:
        there = survey(store, common.keys(args).signers, args.name)
        good = {one.found.ref: one for one in there.sets}
        bad = {found.ref: why for found, why in there.bad}
        committed, remains = [*(one.found for one in there.sets), *(found for found, _ in there.bad)], there.remains
    else:
        good, bad = {}, {}
        committed, remains = find(store, args.name)
    for found in sorted(committed, key=lambda one: (one.name, one.set), reverse=True):
        note = verified(store, found)
        rows.append({"name": found.name, "set": found.set, "size": found.size, "held": list(found.held),
                     "verified": {"level": note.level, "at": note.at.isoformat()} if note else None,
                     **_trust(found, good, bad)})
    if args.json:
        common.tell_json("backups", {"store": store.url, "sets": rows, "incomplete": [one.ref for one in remains]})
        return 0
    _print_list(rows, remains)
    return 0


def _trust(found: Found, good: dict[str, Opened], bad: dict[str, str]) -> dict[str, Any]:
    """What is known of a set: only a trusted signature makes what the manifest says worth telling."""
    one = good.get(found.ref)
    if one is None:
        return {"state": "refused" if found.ref in bad else "unchecked", "why": bad.get(found.ref)}
    return {"state": "good", "why": None, "files": one.manifest.content.files, "bytes": one.manifest.content.bytes,
            "point": one.manifest.consistency.since, "host": one.manifest.host.name}


def _print_list(rows: list[dict[str, Any]], remains: Any) -> None:
    from ultraplan.cli.views.table import table

    if rows:
        now = datetime.now(UTC)
        print(table(("set", "age", "files", "size", "stored", "verified", ""), [(
            f"{row['name']}/{row['set']}",
            _age(now, row["point"]) if row["state"] == "good" else "",
            str(row.get("files", "")), size(row["bytes"]) if "bytes" in row else "", size(row["size"]),
            row["verified"]["level"] if row["verified"] else "", _remark(row)) for row in rows]))
    else:
        print("no backups")
    if remains:
        print(f"incomplete, not counted: {', '.join(one.ref for one in remains)}", file=sys.stderr)


def _age(now: datetime, point: str) -> str:
    seconds = (now - datetime.fromisoformat(point)).total_seconds()
    return f"{seconds / 86400:.0f} d" if seconds >= 2 * 86400 else lasting(seconds)


def _remark(row: dict[str, Any]) -> str:
    if row["state"] == "refused":
        return f"REFUSED: {row['why']}"
    words = ["signature not checked (no --key)"] if row["state"] == "unchecked" else []
    return ", ".join([*words, *(f"held by {who}" for who in row["held"])])


def _show(args: argparse.Namespace, store: Store) -> int:
    import msgspec

    from ultraplan.backup.catalogue import verified
    from ultraplan.backup.members import Note
    from ultraplan.backup.read import Reading, listed

    opened = common.opened(args, store)
    note = verified(store, opened.found)
    manifest = msgspec.to_builtins(opened.manifest)
    if args.json:
        common.tell_json("backup", {
            "manifest": manifest, "manifest_sha256": opened.manifest_sha256, "held": list(opened.found.held),
            "verified": {"level": note.level, "at": note.at.isoformat()} if note else None})
    else:
        told = opened.manifest
        rows = [("set", opened.found.ref), ("host", told.host.name), ("begun", told.started),
                ("goes back to", f"{told.consistency.since} ({told.consistency.kind})"),
                ("holds", ", ".join("/" if root == "." else f"/{root}" for root in told.roots)),
                ("files", f"{told.content.files}, {size(told.content.bytes)}"),
                ("changed meanwhile", str(told.content.changed)), ("stored", size(opened.found.size)),
                ("before it", told.parent.set if told.parent else "none"), ("readable by", ", ".join(told.recipients)),
                ("made with", ", ".join(f"{name} {text}" for name, text in told.tools.items())),
                ("verified", f"{note.level}, {note.at:%Y-%m-%d %H:%M:%S} UTC" if note else "never"),
                ("held by", ", ".join(opened.found.held) or "nobody")]
        for name, text in rows:
            print(f"{name + ':':19}{visible(text)}")
    if args.files:
        with closing(listed(store, opened, Reading(identities=common.keys(args).identities))) as lines:
            for line in lines:
                if isinstance(line, Note):
                    continue
                print(_file_json(line) if args.json else _file_text(line))
    return 0


def _file_json(member: Member) -> str:
    from ultraplan.backup.members import encode

    return json.dumps(json.loads(encode(member)), ensure_ascii=True)


def _file_text(member: Member) -> str:
    from ultraplan.backup.members import mtime_text

    def text(raw: bytes) -> str:
        return visible(raw.decode("utf-8", "backslashreplace"))

    arrow = {"symlink": " -> ", "hardlink": " = "}.get(member.kind)
    link = f"{arrow}{text(member.link or b'')}" if arrow else ""
    owner = f"{text(member.user) or member.uid}:{text(member.group) or member.gid}"
    return (f"{member.kind:8} {member.mode:04o} {owner:17} {member.size:>12} {mtime_text(member.mtime)} "
            f"/{text(member.path)}{link}")


def _verify(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.backup.catalogue import note_verified
    from ultraplan.backup.read import Reading, read_set
    from ultraplan.backup.restore import rehearse

    opened = common.opened(args, store)
    readings = {"manifest": 0, "read": 1, "restore": 2}[args.level]
    moving = Moving("checked", readings * opened.manifest.objects["data.tar.zst.age"].size)
    reading = Reading(identities=common.keys(args).identities, limit=common.limit(args), tick=moving.tick)
    try:
        if args.level == "read":
            read_set(store, opened, reading)
        elif args.level == "restore":
            rehearse(store, opened, reading, Path(args.scratch) if args.scratch else None)
    finally:
        moving.end()
    note_verified(store, opened.found, args.level, datetime.now(UTC))
    content = opened.manifest.content
    if args.json:
        common.tell_json("backup-verified", {"name": opened.found.name, "set": opened.found.set, "level": args.level,
                                             "files": content.files, "bytes": content.bytes})
    else:
        what = {"manifest": "signed, committed, all objects there", "read": "every byte is as it was",
                "restore": "restored and compared"}[args.level]
        print(f"{opened.found.ref}: {what}; {content.files} files, {size(content.bytes)}")
    return 0
