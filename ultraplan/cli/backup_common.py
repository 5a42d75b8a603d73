"""What the verbs of ``ultraplan backup`` share: stores, keys and sizes from the command line."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultraplan.backup.catalogue import Found, Opened
    from ultraplan.backup.keys import KeyFile
    from ultraplan.backup.pipes import Limit
    from ultraplan.backup.stores.base import Store
    from ultraplan.transport.base import Connection


def store(args: argparse.Namespace) -> Store:
    """The store of a command line."""
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.stores.urls import HELP, open_store

    if not args.store:
        raise Refused("it is not said where the backups are", f"--store, or ULTRAPLAN_BACKUP_STORE: {HELP}")
    return open_store(args.store, _connect)


def _connect(address: str) -> Connection:
    """A connection to the host of an ``ssh`` URL, with the repository's ssh_config and known_hosts where it has any."""
    from ultraplan.backup.stores.urls import connection
    from ultraplan.engine.settings import find_settings

    found = find_settings(Path.cwd(), os.environ)
    return connection(address, ssh_config=found.ssh_config, known_hosts=found.known_hosts,
                      strict=found.strict_host_keys)


def keys(args: argparse.Namespace) -> KeyFile:
    """What the key files of a command line say."""
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.keys import read_keys

    if not args.keys:
        raise Refused("no key is given", "--key, or ULTRAPLAN_BACKUP_KEYS: recovery.key (to read sets) or recovery.pub")
    return read_keys(Path(file) for file in args.keys)


def chosen(args: argparse.Namespace, where: Store) -> Found:
    """The set that ``NAME[/SET]`` means."""
    from ultraplan.backup.catalogue import choose

    name, _, which = args.set.partition("/")
    return choose(where, name, which or "latest")


def opened(args: argparse.Namespace, where: Store) -> Opened:
    """That set, at level 1."""
    from ultraplan.backup.catalogue import open_set

    return open_set(where, chosen(args, where), keys(args).signers)


def limit(args: argparse.Namespace) -> Limit | None:
    """The limit of a command line, in bytes a second."""
    from ultraplan.backup.errors import Refused
    from ultraplan.backup.pipes import Limit
    from ultraplan.language.values import Size

    if args.limit_rate is None:
        return None
    try:
        return Limit(Size.parse(args.limit_rate))
    except ValueError as error:
        raise Refused(f"--limit-rate: {error}") from None


def duration(text: str, option: str) -> float:
    """A length of time from the command line, in seconds."""
    from ultraplan.backup.errors import Refused
    from ultraplan.language.values import Duration

    try:
        return float(Duration.parse(text))
    except ValueError as error:
        raise Refused(f"{option}: {error}") from None


def tell_json(kind: str, data: Mapping[str, Any]) -> None:
    """One versioned document on stdout."""
    print(json.dumps({"format": f"ultraplan/{kind}", "version": 1, **data}, ensure_ascii=True))
