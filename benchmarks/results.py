"""What was measured: samples, their medians, and tables of them."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.runner import Usage


@dataclass(frozen=True, slots=True)
class Cell:
    """Medians of one tool at one piece of work.

    Seconds; seconds of processor time on the controller (all processes) and on the hosts; bytes of memory; ``rate`` in
    bytes a second where the work is to move bytes. ``spread``: the fastest and the slowest run, in seconds.
    """

    seconds: float
    cpu: float
    memory: int
    runs: int
    spread: tuple[float, float]
    hosts_cpu: float | None = None
    rate: float | None = None

    @classmethod
    def of(cls, usages: Sequence[Usage], hosts_cpu: Sequence[float] = ()) -> Cell:
        """The medians of some runs."""
        times = sorted(usage.seconds for usage in usages)
        return cls(median(times), median(usage.cpu for usage in usages), int(median(usage.memory for usage in usages)),
                   len(times), (times[0], times[-1]), median(hosts_cpu) if hosts_cpu else None)


@dataclass(slots=True)
class Table:
    """``rows``: what was done, and who did it in how much; ``columns``: the tools, by name, with their labels; ratios
    are to the column ``ours``. ``notes``: what a reader has to know; ``about``: when, where, with what (`machine`)."""

    name: str
    title: str
    columns: dict[str, str]
    rows: dict[str, dict[str, Cell]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ours: str = "ours"
    failed: bool = False
    about: dict[str, str] = field(default_factory=dict)

    def ratio(self, row: str, column: str) -> float | None:
        """How many times longer than ours it took (less than 1: it was quicker); by the rate, where there is one."""
        cells = self.rows[row]
        if column == self.ours or column not in cells or self.ours not in cells:
            return None
        theirs, ours = cells[column], cells[self.ours]
        if theirs.rate is not None and ours.rate is not None:
            return ours.rate / theirs.rate
        return theirs.seconds / ours.seconds


class Collection:
    """Samples of one table, in the order in which they came; a table when all are there."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._usages: dict[tuple[str, str], list[Usage]] = {}
        self._hosts: dict[tuple[str, str], list[float]] = {}

    def add(self, row: str, column: str, usage: Usage, hosts_cpu: float | None = None) -> None:
        """One run."""
        self._usages.setdefault((row, column), []).append(usage)
        if hosts_cpu is not None:
            self._hosts.setdefault((row, column), []).append(hosts_cpu)

    def table(self) -> Table:
        """The table with the medians so far."""
        for (row, column), usages in self._usages.items():
            cells = self._table.rows.setdefault(row, {})
            cells[column] = Cell.of(usages, self._hosts.get((row, column), ()))
        return self._table


def machine() -> dict[str, str]:
    """Where and when: what figures mean nothing without."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")), 0)
    load = os.getloadavg()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} x {model}, {memory / 1024**2:.0f} GB, Linux {platform.release().split('-')[0]}",
        "load": f"{load[0]:.1f} in the last minute, {load[2]:.1f} in the last fifteen",
        "python": platform.python_version(),
    }


def _lines(path: str) -> Iterable[str]:
    return Path(path).read_text().splitlines()
