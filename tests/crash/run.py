"""One cell from its beginning to its end: into trouble, `runs show`, on with what it says, a person's word where it is
asked for, and the judgement."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import oracle, troubles
from tests.crash.cells import Cell
from tests.crash.plan import NAMES
from tests.crash.sites import Power, hosts_of
from tests.crash.world import World
from tests.lab import Lab

MOST_DOUBTS = 3


@dataclass(frozen=True)
class Verdict:
    """How a cell ended. ``wrong``: what is, a line each; ``story``: what was done."""

    cell: Cell
    wrong: tuple[str, ...]
    seconds: float
    story: str

    @property
    def text(self) -> str:
        """For a person who has to find out why it is wrong."""
        return "\n".join([f"{self.cell}:", *(f"  {line}" for line in self.wrong), "", self.story])


def run(cell: Cell, folder: Path, lab: Lab | None, names: Sequence[str] = ("h1", "h2", "h3", "h4", "h5")) -> Verdict:
    """Run ``cell`` in ``folder``, which is its own. ``names``: hosts of the lab that are free."""
    began = time.monotonic()
    folder.mkdir(parents=True)
    power = Power(folder) if cell.place == "local" and cell.trouble.way == "reboot" else None
    with hosts_of(cell.place, lab, names, folder, NAMES) as hosts:
        serial = 1 if cell.trouble.serial and len(hosts) > 1 else None
        world = World(folder, hosts, cell.kind, serial, power)
        try:
            wrong = _run(world, cell)
        except AssertionError as error:
            wrong = [str(error)]
        finally:
            world.stop()
    return Verdict(cell, tuple(wrong), time.monotonic() - began, "\n".join(world.story))


def _run(world: World, cell: Cell) -> list[str]:
    excused: Counter[tuple[str, str]] = Counter()
    meanwhile = getattr(troubles, cell.trouble.way)(world, cell)
    if cell.trouble.dies and not cell.opaque:
        excused[f"undo-{cell.undone}" if cell.trouble.back else "fire", world.victim.name] = 1
    process = world.start(*_what_next(world, cell), "--json")
    if meanwhile is not None:
        meanwhile(process)
    last = world.end(process)
    doubts = 0
    while last.result["in_doubt"]:
        doubts += 1
        if doubts > MOST_DOUBTS:
            return [f"in doubt for the {doubts}. time: {last.result['in_doubt']}"]
        if last.code not in (4, 5):
            return [f"in doubt with exit {last.code}"]
        shown = world.shown()
        _a_person_says(world, cell, shown, excused)
        verbs = [line.split()[1] for line in shown["next"]]
        last = world.run(*world.next_command(shown, cell.verb if cell.verb in verbs else "resume"), "--json")
    wrong = []
    if doubts == 0 and _has_to_doubt(cell):
        wrong.append("nobody was asked, though nobody can know")
    if doubts > 0 and not _has_to_doubt(cell) and not _may_doubt(cell):
        wrong.append("asked a person for nothing")
    return wrong + list(oracle.problems(world, cell, last, excused))


def _what_next(world: World, cell: Cell) -> list[str]:
    """The command that `runs show` says to type, where it says one: not while the other controller still lives
    (and it says the same wherever the hosts are). What goes back already it advises to resume; `rollback` does too."""
    plain = troubles.plainly(cell)
    if cell.trouble.way.startswith("paused") or cell.write or cell.place != "local":
        return plain
    shown = world.shown()
    named = [line.split()[1] for line in shown["next"]]
    assert "resume" in named, f"`runs show` does not say how to go on: {shown['next']}"
    if cell.verb not in named and (shown["status"] == "rollback_incomplete" or "with the rollback" in shown["next"][0]):
        return plain
    return world.next_command(shown, cell.verb)


def _has_to_doubt(cell: Cell) -> bool:
    """What died without a word is in doubt where nobody can look; so is what a rollback has to end."""
    ended = cell.trouble.way == "middle_runs" and cell.verb == "rollback" and not cell.trouble.back
    return cell.opaque and (cell.trouble.dies or ended)


def _may_doubt(cell: Cell) -> bool:
    """After a reboot a receipt that is not there proves nothing, also of what had been sent ahead of its turn."""
    return cell.trouble.way == "reboot" and not cell.trouble.back and cell.place != "fleet"


def _a_person_says(world: World, cell: Cell, shown: dict[str, Any], excused: Counter[tuple[str, str]]) -> None:
    """He looks at the host, and says that it was not done; or does by hand what is missing, and says that it was."""
    for line in [line for line in shown["next"] if line.startswith("ultraplan resolve ")]:
        words = shlex.split(line.partition("   ")[0])[1:]
        step, _, name = words[2].partition("@")
        host = next(one for one in world.hosts if one.name == name)
        effect = f"undo-{step}" if host.counts()[f"did:undo-{step}"] else step
        done = host.counts()[f"done:{effect}"] > 0
        if not done and cell.place == "ssh":
            if step == "fire":
                host.machine.sh(f"rm {host.base}/tree/fire" if effect != step else f"echo fired >{host.base}/tree/fire")
            host.machine.sh(f"echo done:{effect} >>{host.base}/log")
            done = True
        if not done:
            excused[effect, name] += 1
        answered = world.run(*words[:-1], "done" if done else "not-done")
        assert answered.code == 0, answered.said
