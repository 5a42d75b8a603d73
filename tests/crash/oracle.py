"""What has to be true at a cell's end: counters, trees, the report, the exit code.

The hosts say what happened, by logs that are no part of what the run manages. The report says what it believes. They
have to agree, and both have to be what the cell is there for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.crash.cells import Cell
from tests.crash.plan import COUNTED, STEPS, tree_with
from tests.crash.sites import Host
from tests.crash.world import Done, World

RESTS_ON = ("folder", "config")
"""What `fire` comes after: where it cannot be undone, they are left alone."""


def problems(world: World, cell: Cell, last: Done, excused: dict[tuple[str, str], int]) -> Iterator[str]:
    """What is wrong, a line each. ``excused``: how often an effect (a name in the log, on a host) may have begun once
    more, because the attempt before it is proven dead or a person said that it was not done."""
    status, residue = last.result["status"], last.result["residue"]
    burned = {host.name: cell.kind == "irreversible" and host.counts()["done:fire"] > 0 for host in world.hosts}
    wanted = _wanted(cell, any(burned.values()))
    if status != wanted:
        yield f"the run is {status}, not {wanted}"
    code = {"succeeded": 0, "rolled_back": int(last.verb != "rollback"), "rolled_back_in_part": 4, "paused": 5}[wanted]
    if last.code != code:
        yield f"exit {last.code} instead of {code}"
    yield from _residue(status, residue, burned)
    standing = {host.name: _standing(status, host, residue) for host in world.hosts}
    for host in world.hosts:
        yield from _host(host, standing[host.name], excused)


def _wanted(cell: Cell, burned: bool) -> str:
    """How the run has to end. A host whose disk is full makes the run go back, unless something burned."""
    if cell.trouble.way == "kill_failing" and cell.verb == "resume" and burned:
        return "paused"
    if cell.trouble.way == "kill_failing":
        return "rolled_back_in_part" if burned else "rolled_back"
    if cell.verb == "resume" and not cell.trouble.back and (cell.trouble.disk != "host" or cell.kind == "irreversible"):
        return "succeeded"
    return "rolled_back_in_part" if burned else "rolled_back"


def _residue(status: str, residue: list[str], burned: dict[str, bool]) -> Iterator[str]:
    wanted = {(step, host) for host, there in burned.items() if there and status not in ("succeeded", "paused")
              for step in (*RESTS_ON, "fire")}
    named = set(map(_named, residue))
    if named - wanted:
        yield f"the report names as left what should not be: {sorted(named - wanted)}"
    if wanted - named:
        yield f"the report does not name what is left: {sorted(wanted - named)}"


def _named(line: str) -> tuple[str, str]:
    found = re.match(r"(\S+) on (\S+): ", line)
    return (found[1], found[2]) if found else (line, "")


def _standing(status: str, host: Host, residue: list[str]) -> list[str]:
    """The steps that stand on a host, if the report is right."""
    if status == "succeeded":
        return list(STEPS)
    if status == "paused":
        return [step for step in STEPS if step != "last"]
    return [step for step, where in map(_named, residue) if where == host.name]


def _host(host: Host, standing: list[str], excused: dict[tuple[str, str], int]) -> Iterator[str]:
    tree, wanted = host.tree(), tree_with(standing)
    if tree != wanted:
        yield f"{host.name}: the tree is {_difference(wanted, tree)}"
    counts = host.counts()
    for step in COUNTED:
        there = counts[f"done:{step}"] > counts[f"done:undo-{step}"]  # an undo may have found nothing to do
        if there != (step in standing):
            yield f"{host.name}: {step} {'stands' if there else 'does not stand'}: {dict(counts)}"
        for name in (step, f"undo-{step}"):
            most = 1 + excused.get((name, host.name), 0)
            if counts[f"did:{name}"] > most:
                yield f"{host.name}: {name} began {counts[f'did:{name}']} times, {most} at most is safe"
            if counts[f"done:{name}"] > 1:
                yield f"{host.name}: {name} was done {counts[f'done:{name}']} times"


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    return ", ".join(f"{path}: {wanted.get(path)} → {found.get(path)}"
                     for path in sorted(wanted.keys() | found.keys()) if wanted.get(path) != found.get(path))
