"""``ultraplan inventory``: which hosts there are, in which groups, and whether they answer."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ultraplan.cli import options
from ultraplan.cli.views.paint import paint, visible

if TYPE_CHECKING:
    from ultraplan.inventory.model import Inventory

EXAMPLES = """\
examples:
  ultraplan inventory list -i inventories/prod.yaml
  ultraplan inventory list --hosts 'web:&prod:!drained'
  ultraplan inventory graph
  ultraplan inventory ping db --json
"""

MOST_AT_ONCE = 32
"""Hosts that are pinged at the same time."""

FACTS = ("hostname", "os", "os_version", "kernel", "arch", "user")


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for name, text in (("list", "hosts, groups and variables as JSON, like ansible-inventory --list"),
                       ("graph", "the tree of groups"),
                       ("ping", "connect to the hosts, all at once; exit 1 where one cannot be reached")):
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("pattern", metavar="PATTERN", nargs="?", default="all", help="only these (default: all)")
        sub.add_argument("-i", "--inventory", action="append", default=[], metavar="SOURCE",
                         help="inventory file, folder, script or 'host,' list (repeatable)")
        if name == "list":
            sub.add_argument("--hosts", action="store_true", help="only the names of the hosts, one a line")
        options.add_output(sub)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.inventory.load import load_inventory
    from ultraplan.inventory.patterns import match

    inventory = load_inventory(args.inventory or options.settings(args).inventory)
    if args.what == "graph":
        return _graph(args, inventory)
    hosts = match(inventory, args.pattern)
    if args.what == "ping":
        return _ping(args, inventory, hosts)
    if args.hosts:
        names = json.dumps({"format": "ultraplan/hosts", "version": 1, "hosts": hosts}, ensure_ascii=False)
        print(names if args.json else "\n".join(map(visible, hosts)))
        return 0
    print(json.dumps(_only(inventory, hosts), indent=None if args.json else 4, ensure_ascii=False))
    return 0


def _only(inventory: Inventory, hosts: tuple[str, ...]) -> dict[str, Any]:
    """The listing, with only those hosts in it."""
    from ultraplan.inventory.render import as_list

    listing, wanted = as_list(inventory), set(hosts)
    listing["_meta"]["hostvars"] = {name: value for name, value in listing["_meta"]["hostvars"].items()
                                    if name in wanted}
    for body in listing.values():
        if "hosts" in body:
            body["hosts"] = [name for name in body["hosts"] if name in wanted]
    return listing


def _graph(args: argparse.Namespace, inventory: Inventory) -> int:
    from ultraplan.engine.runs import NotPossible
    from ultraplan.inventory.render import as_graph
    from ultraplan.language.errors import did_you_mean

    if args.pattern not in inventory.groups:
        meant = did_you_mean(args.pattern, inventory.groups)
        raise NotPossible(f"there is no group {args.pattern!r}" + (f"; {meant}" if meant else ""))
    text = as_graph(inventory, args.pattern)
    if args.json:
        print(json.dumps({"format": "ultraplan/inventory-graph", "version": 1, "group": args.pattern,
                          "graph": text.splitlines()}, ensure_ascii=False))
    else:
        print("\n".join(map(visible, text.splitlines())))
    return 0


def _ping(args: argparse.Namespace, inventory: Inventory, hosts: tuple[str, ...]) -> int:
    rows, color = [], options.colored(args)
    for row in _answers(args, inventory, hosts):
        rows.append(row)
        if not args.json:
            good, took = row["reachable"], f"{row['seconds'] * 1000:.0f} ms"
            facts = row.get("facts", {})
            text = (f"{facts.get('hostname', '?')}, {facts.get('os', '?')} {facts.get('os_version', '')}".strip()
                    if good else row["error"])
            print(f"{paint('ok' if good else 'unreachable', 'green' if good else 'red', color)}  {visible(row['host'])}"
                  f"  {took}  {visible(text)}", flush=True)
            if not good and row["hint"]:
                print(f"    {visible(row['hint'])}")
    lost = sum(not row["reachable"] for row in rows)
    if args.json:
        print(json.dumps({"format": "ultraplan/ping", "version": 1, "hosts": rows}, ensure_ascii=False))
    elif not rows:
        print("no hosts", file=sys.stderr)
    else:
        print(f"{len(rows) - lost} of {len(rows)} answer")
    return 1 if lost else 0


def _answers(args: argparse.Namespace, inventory: Inventory, hosts: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A row for each host, in inventory order, as soon as those before it have answered."""
    import os
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from ultraplan import vault
    from ultraplan.engine.fleet import Fleet
    from ultraplan.engine.targets import target_of
    from ultraplan.inventory.references import references_in
    from ultraplan.inventory.variables import World
    from ultraplan.secrets import SecretError, Secrets
    from ultraplan.transport.base import TransportError
    from ultraplan.transport.target import connector

    settings = options.settings(args)
    world = World(inventory)
    secrets = Secrets(references_in(inventory), {"vault": vault.resolver(Path.cwd(), os.environ)})

    def ping(name: str) -> dict[str, Any]:
        began = time.monotonic()
        try:
            # Each with a connector of its own: variables that cannot be used are this host's trouble, not everybody's.
            targets = {name: target_of(world[name])}
            connections = partial(connector, targets, reveal=secrets.reveal, ssh_config=settings.ssh_config,
                                  known_hosts=settings.known_hosts, strict=settings.strict_host_keys)
            fleet = Fleet(inventory, targets, connections, secrets, {}, settings.state)
            try:
                facts = fleet.session(name).facts()
            finally:
                fleet.close()
        except (TransportError, SecretError) as error:
            return {"host": name, "reachable": False, "seconds": time.monotonic() - began,
                    "error": secrets.redact(str(error)), "hint": getattr(error, "hint", None)}
        return {"host": name, "reachable": True, "seconds": time.monotonic() - began,
                "facts": {fact: facts[fact] for fact in FACTS if fact in facts}}

    with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
        yield from pool.map(ping, hosts)
