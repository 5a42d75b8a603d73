"""``python -m benchmarks``: the same work by every tool in turn, on hosts of this machine (root), and what it took."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import large_files, local_steps, many_steps, report
from benchmarks.environments import prepare, versions
from benchmarks.results import Table, machine
from benchmarks.runner import Slow
from benchmarks.tools import TOOLS
from benchmarks.work import Work
from tests.lab import Kind, Lab, LabError, Options

PACKAGES = {"ansible": ("ansible-core",), "mitogen": ("ansible-core", "mitogen"), "pyinfra": ("pyinfra",)}
DISTANCE_MS = 100
_SHM = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    hosts: tuple[int, ...] = (1, 10, 50)
    many: int = 200
    files: int = 10
    megabytes: int = 1000
    pairs: tuple[int, ...] = (200, 500)
    repeat: int = 3


QUICK = Sizes(hosts=(1, 4), many=20, files=3, megabytes=64, pairs=(50,), repeat=1)
FULL = Sizes(pairs=(200, 500, 2000))


class Bench:
    """The suites; each brings up what it needs and takes it down."""

    def __init__(self, sizes: Sizes, tools: list[str], folder: Path) -> None:
        self.sizes, self.tools, self.folder = sizes, tools, folder
        self.labels = {name: TOOLS[name].label for name in tools}

    def steps(self) -> Table:
        """Near hosts, few and many."""
        sizes, work = self.sizes, Work(self.sizes.files)
        title = f"{work.steps} steps a host ({work.files} files of fixed mode, {work.files} commands)"
        table = Table("steps", title, self.labels)
        with Lab.up(Options((Kind.DEBIAN,) * max(sizes.hosts))) as lab:
            return many_steps.measure(lab, sizes.hosts, work, self.tools, sizes.repeat, self.folder / "steps", table)

    def distance(self) -> Table:
        """One host, far away."""
        work = Work(self.sizes.files)
        table = Table("distance", f"{work.steps} steps on a host {DISTANCE_MS} ms away", self.labels)
        with Lab.up(Options((Kind.DEBIAN,), delay_ms=DISTANCE_MS / 2)) as lab:
            return many_steps.measure(lab, [1], work, self.tools, self.sizes.repeat, self.folder / "distance", table)

    def many(self) -> Table:
        """As many hosts as one controller has to manage."""
        work = Work(self.sizes.files)
        tools = [name for name in self.tools if TOOLS[name].peer is None]
        labels = {name: self.labels[name] for name in tools}
        table = Table("many", f"{work.steps} steps a host, on {self.sizes.many} hosts", labels)
        with Lab.up(Options((Kind.DEBIAN,) * self.sizes.many)) as lab:
            many_steps.measure(lab, [self.sizes.many], work, tools, 1, self.folder / "many", table)
            ours = next((name for name in ("ours", "ours-free") if name in tools), None)
            table.ours = ours or table.ours
            if ours is not None and not table.failed:  # what a host adds, not what the program is
                alone = self._alone(lab, work, ours)
                most = max(cells[ours].memory for cells in table.rows.values())
                each = (most - alone) / (self.sizes.many - 1)
                table.notes.append(f"ultraplan's memory for each host: {each / 1e6:.2f} MB (over the {alone / 1e6:.0f} "
                                   "MB that it takes for one)")
            return table

    def _alone(self, lab: Lab, work: Work, ours: str) -> int:
        table = many_steps.measure(lab, [1], work, [ours], 1, self.folder / "alone", Table("", "", {}))
        return max(cells[ours].memory for cells in table.rows.values())

    def files(self) -> Table:
        """A large file."""
        with Lab.up(Options((Kind.DEBIAN,))) as lab:
            return large_files.measure(lab, self.sizes.megabytes, self.sizes.repeat, self.folder / "files")

    def local(self) -> Table:
        """No host but this."""
        return local_steps.measure(self.sizes.pairs, self.sizes.repeat, self.folder / "local")


SUITES: dict[str, Callable[[Bench], Table]] = {
    "steps": Bench.steps, "distance": Bench.distance, "many": Bench.many, "files": Bench.files, "local": Bench.local,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; default: all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, once: does everything still work?")
    size.add_argument("--full", action="store_true", help="4,000 local operations, too (Terraform takes its time)")
    parser.add_argument("--tools", help=f"of {','.join(TOOLS)}; default: all")
    parser.add_argument("--hosts", help="numbers of hosts for `steps`, e.g. 1,10,50")
    parser.add_argument("--repeat", type=int, help="how often; medians are shown")
    parser.add_argument("--megabytes", type=int, help="size of the large file")
    parser.add_argument("--pairs", help="pairs of operations for `local`, e.g. 200,500,2000")
    parser.add_argument("--many", type=int, help="hosts for `many`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw them there")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE",
                        help="measure nothing: show the results that --json wrote, as one")
    parser.add_argument("--markdown", action="store_true", help="print tables for documentation")
    return parser


def _sizes(arguments: argparse.Namespace) -> Sizes:
    base = QUICK if arguments.quick else FULL if arguments.full else Sizes()
    return Sizes(_numbers(arguments.hosts) or base.hosts, arguments.many or base.many, base.files,
                 arguments.megabytes or base.megabytes, _numbers(arguments.pairs) or base.pairs,
                 arguments.repeat or base.repeat)


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",")) if text else ()


def main() -> int:
    """Returns the exit status: 1 where a tool failed, or left a host in another state than it should."""
    parser = _parser()
    arguments = parser.parse_args()
    tools = arguments.tools.split(",") if arguments.tools else list(TOOLS)
    suites = arguments.suites or list(SUITES)
    for word, known in ((tools, TOOLS), (suites, SUITES)):
        if unknown := sorted({*word} - {*known}):
            parser.error(f"there is no {', '.join(unknown)}; there is {', '.join(known)}")
    if arguments.show:
        _report(arguments, [table for file in arguments.show for table in report.load(file.read_text())])
        return 0
    peers: dict[str, str] = {}
    if {*suites} & {"steps", "distance"}:
        for peer in dict.fromkeys(peer for name in tools if (peer := TOOLS[name].peer)):
            prepare(peer)
            peers[peer] = versions(peer, *PACKAGES[peer])
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=_SHM if _SHM.is_dir() else None))
    tables: list[Table] = []
    failed = False
    try:
        bench = Bench(_sizes(arguments), tools, folder)
        for suite in suites:
            print(f"{suite}:", file=sys.stderr, flush=True)
            about = machine()
            try:
                table = SUITES[suite](bench)
                table.about = {**about, **{peer: said for peer, said in peers.items() if peer in table.columns}}
                tables.append(table)
                failed = failed or table.failed
            except (many_steps.Failed, Slow, LabError) as error:
                print(f"{suite}: {error}", file=sys.stderr)
                failed = True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _report(arguments, tables)
    return 1 if failed else 0


def _report(arguments: argparse.Namespace, tables: list[Table]) -> None:
    print(report.markdown(tables) if arguments.markdown else report.text(tables))
    if arguments.json:
        arguments.json.write_text(report.as_json(tables))
    if arguments.svg:
        arguments.svg.write_text(report.svg(tables))


if __name__ == "__main__":
    sys.exit(main())
