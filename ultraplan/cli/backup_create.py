"""``ultraplan backup create``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ultraplan.cli import backup_common as common
from ultraplan.cli.views.moving import Moving, size
from ultraplan.cli.views.paint import visible


def run(args: argparse.Namespace) -> int:
    from ultraplan.backup.catalogue import newest
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.keys import public_text, signing_key
    from ultraplan.backup.sources.files import LocalFiles
    from ultraplan.backup.write import Order, create

    keys = common.keys(args)
    if not args.signing_key:
        raise Refused("no signing key is given", "--signing-key, or ULTRAPLAN_BACKUP_SIGNING_KEY")
    signing = signing_key(Path(args.signing_key))
    if public_text(signing) not in keys.signers:
        raise Refused(f"{args.signing_key} is not the key that {', '.join(args.keys)} says sets are signed with",
                      "whoever restores would not trust the set; add its `# signer:` line, or use the right key")
    source = LocalFiles(args.paths, args.exclude, args.one_file_system)
    _outside(args.store, source.roots, args.exclude)
    with closing(common.store(args)) as store:
        before = newest(store, args.name, keys.signers)
        moving = Moving("read", before.manifest.content.tar if before else None, about=True)
        try:
            made = create(store, source, Order(
                name=args.name, keys=keys, signing=signing, parent=before.parent if before else None,
                limit=common.limit(args), read=moving.tick, stored=moving.stored, unchanged=args.unchanged))
        finally:
            moving.end()
    manifest = made.manifest
    stored = sum(one.size for one in manifest.objects.values())
    if args.json:
        common.tell_json("backup-created", {
            "name": manifest.name, "set": manifest.set, "manifest_sha256": made.manifest_sha256, "stored": stored,
            "files": manifest.content.files, "bytes": manifest.content.bytes,
            "changed": [visible(note.path.decode("utf-8", "backslashreplace")) for note in made.notes]})
        return 0
    print(f"{manifest.name}/{manifest.set}: {manifest.content.files} files, {size(manifest.content.bytes)}, "
          f"{size(stored)} in the store")
    for note in made.notes[:20]:
        print(f"  {visible(note.path.decode('utf-8', 'backslashreplace'))}: {note.text}", file=sys.stderr)
    if len(made.notes) > 20:
        print(f"  and {len(made.notes) - 20} more that changed while they were read", file=sys.stderr)
    return 0


def _outside(url: str | None, roots: Sequence[bytes], exclude: Sequence[str]) -> None:
    """Raises `Refused` where the store would be backed up into itself."""
    from ultraplan.backup.difference import below
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.stores.urls import local_path

    path = local_path(url or "")
    if path is not None and str(path) not in exclude and below(bytes(path.resolve())[1:], roots):
        raise Refused(f"the store {path} lies in what is backed up: each set would hold all the ones before it",
                      f"put it elsewhere, or --exclude {path}")
