"""``python -m tests.simulation SEED`` runs one world again; ``--runs N [--from SEED]`` runs many and tells the rate."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.simulate import Broken, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="run this seed")
    parser.add_argument("--runs", type=int, default=0, help="run so many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first broken one")
    args = parser.parse_args()
    if args.seed is not None:
        print(simulate(args.seed))
        return 0
    began = time.perf_counter()
    ends: Counter[str] = Counter()
    events = broken = 0
    for seed in range(args.first, args.first + args.runs):
        try:
            told = simulate(seed)
        except Broken as error:
            if not args.keep_going:
                print(error)
                return 1
            print(str(error).partition("\n")[0])
            broken += 1
            continue
        ends[told.status] += 1
        events += told.events
    took = time.perf_counter() - began
    print(f"{args.runs} runs, {events} events, {took:.1f} s, {args.runs / took:.0f} runs/s, {broken} broken: "
          f"{', '.join(f'{count} {status}' for status, count in ends.most_common())}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
