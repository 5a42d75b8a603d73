"""``python -m tests.crash --table`` runs the whole matrix and prints it; words choose the cells that have them all."""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.crash.cells import Cell, cells
from tests.crash.disks import why_unavailable as no_disks
from tests.crash.run import Verdict, run
from tests.crash.sites import FLEET
from tests.crash.table import table
from tests.lab import Kind, Lab, Options, why_unavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("words", nargs="*", help="only cells whose name holds each of these words")
    parser.add_argument("--table", action="store_true", help="print the whole table at the end")
    parser.add_argument("--list", action="store_true", help="only the names of the cells")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="cells at once")
    args = parser.parse_intermixed_args()
    chosen = [cell for cell in cells() if all(word in str(cell) for word in args.words)]
    if args.list:
        print(*chosen, sep="\n")
        return 0
    reason = why_unavailable() or no_disks()
    if reason:
        print(f"the crash matrix needs the lab and disks of its own: {reason}", file=sys.stderr)
        return 2
    began = time.monotonic()
    verdicts = []
    for verdict in _all(chosen, args.jobs):
        verdicts.append(verdict)
        print(f"{len(verdicts):4}/{len(chosen)} {'WRONG' if verdict.wrong else 'right'} {verdict.seconds:5.1f} s  "
              f"{verdict.cell}", flush=True)
        if verdict.wrong:
            print("\n".join(f"       {line}" for line in verdict.text.splitlines()), flush=True)
    if args.table:
        print(table(verdicts))
    wrong = [verdict for verdict in verdicts if verdict.wrong]
    print(f"{len(verdicts)} cells, {len(verdicts) - len(wrong)} right, {len(wrong)} wrong, "
          f"{time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _all(chosen: list[Cell], jobs: int) -> Iterator[Verdict]:
    """Each process has a lab of its own, and takes the next cell when it is through with one."""
    left = list(reversed(chosen))
    pipes: dict[Connection, multiprocessing.Process] = {}
    for _ in range(min(jobs, len(chosen))):
        ours, theirs = multiprocessing.Pipe()
        pipes[ours] = multiprocessing.Process(target=_work, args=(theirs,))
        pipes[ours].start()
        theirs.close()
        ours.send(left.pop())
    while pipes:
        for pipe in wait(list(pipes)):
            assert isinstance(pipe, Connection)
            yield pipe.recv()
            if left:
                pipe.send(left.pop())
            else:
                pipe.send(None)
                pipes.pop(pipe).join()


def _work(pipe: Connection) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ultraplan-crash-"))
    try:
        with Lab.up(Options((Kind.DEBIAN,) * FLEET)) as lab:
            number = 0
            while (cell := pipe.recv()) is not None:
                number += 1
                pipe.send(run(cell, folder / f"cell-{number}", lab))
                shutil.rmtree(folder / f"cell-{number}", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
