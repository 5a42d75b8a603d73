"""Many small steps: the same work by every tool in turn, on few hosts and many, near and far."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.hosts import Hosts, WrongState
from benchmarks.results import Collection, Table
from benchmarks.runner import Slow, Usage, run
from benchmarks.tools import PHASES, TOOLS, Phase, Site, Tool
from benchmarks.work import Work
from tests.lab import Lab

SAYS: dict[Phase, str] = {"preview": "preview", "first": "first run", "again": "no-change run"}
_SETTLE = 0.3  # what a tool started on a host ends a moment after the tool
TIMEOUT = 900.0
PATIENCE = 60.0
"""A tool with a run slower than so many seconds runs only once."""


class Failed(Exception):
    """A tool said that it failed, so there is nothing to compare."""


def measure(lab: Lab, counts: Sequence[int], work: Work, tools: Sequence[str], repeat: int, folder: Path, table: Table,
            phases: Sequence[Phase] = PHASES) -> Table:
    """Let every tool do ``work`` on the first of the lab's hosts, ``repeat`` times in turn, and add rows to ``table``.

    After each run the hosts are looked at from outside. A tool that fails, leaves a host as it must not be, or takes
    longer than `TIMEOUT`, is left out from then on, with a note; the first two make the table ``failed``.
    """
    names = list(lab.hosts)
    for count in counts:
        collection = Collection(table)
        hosts = Hosts(lab, names[:count])
        done_with: set[str] = set()
        for turn in range(repeat):
            for name in _turned([tool for tool in tools if tool not in done_with], turn):
                hosts.empty()
                site = Site(lab, hosts.names, work, _fresh(folder / name))
                tool = TOOLS[name](site)
                tool.prepare()
                try:
                    for phase in phases:
                        usage, theirs = one(tool, phase, hosts)
                        collection.add(_row(count, phase), name, usage, theirs)
                        print(f"  {_row(count, phase)}, {tool.label}: {usage.seconds:.2f} s", file=sys.stderr,
                              flush=True)
                        if usage.seconds > PATIENCE:
                            done_with.add(name)
                except (Failed, WrongState, Slow) as error:
                    print(f"  {error}", file=sys.stderr, flush=True)
                    table.notes.append(f"With {count} hosts: {str(error).splitlines()[0]}")
                    table.failed = table.failed or not isinstance(error, Slow)
                    done_with.add(name)
                finally:
                    tool.close()
        collection.table()
    return table


def one(tool: Tool, phase: Phase, hosts: Hosts) -> tuple[Usage, float]:
    """One run of one tool, and its check. Returns what it cost here, and the hosts' processor time in seconds."""
    log = tool.site.folder / f"{phase}.log"
    before = hosts.cpu()
    usage = run(tool.command(phase), environment=tool.environment(), cwd=tool.site.folder, log=log, timeout=TIMEOUT)
    time.sleep(_SETTLE)
    paid = hosts.cpu() - before
    if usage.exit != 0:
        raise Failed(f"{tool.label}, {SAYS[phase]}: exit {usage.exit}\n{log.read_text(errors='replace')[-2000:]}")
    if phase == "preview":
        hosts.is_empty()
    else:
        hosts.check(tool.site.work)
    return usage, paid


def _row(count: int, phase: Phase) -> str:
    return f"{count} host{'s' if count > 1 else ''}, {SAYS[phase]}"


def _turned(tools: Sequence[str], turn: int) -> Iterable[str]:
    """Nobody is always the first, or the last."""
    at = turn % len(tools) if tools else 0
    return [*tools[at:], *tools[:at]]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder
