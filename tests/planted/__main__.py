"""``python -m tests.planted`` plants each bug, and prints which test catches it; words choose bugs by name."""

from __future__ import annotations

import argparse
import sys
import time

from tests.planted.bugs import BUGS
from tests.planted.plant import Outdated, catch, check, copy


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("words", nargs="*", help="only bugs whose name holds each of these words")
    parser.add_argument("--no-control", action="store_true", help="do not run the tests without a bug first")
    args = parser.parse_args()
    chosen = [bug for bug in BUGS if all(word in bug.name for word in args.words)]
    began = time.monotonic()
    if not args.no_control:
        with copy() as folder:
            failed, said = check(folder, sorted({test for bug in chosen for test in bug.tests}))
        if failed is not None:
            print(f"without a bug {failed} fails:\n{said}", file=sys.stderr)
            return 1
    missed = 0
    for number, bug in enumerate(chosen, 1):
        try:
            caught = catch(bug)
        except (Outdated, AssertionError) as error:
            print(f"{number:2}/{len(chosen)} ERROR   {error}", flush=True)
            missed += 1
            continue
        print(f"{number:2}/{len(chosen)} {'caught' if caught.by else 'MISSED'} {caught.seconds:5.1f} s  {bug.name}\n"
              f"{'':17}{caught.by or ', '.join(bug.tests)}", flush=True)
        missed += caught.by is None
    print(f"{len(chosen)} planted, {len(chosen) - missed} caught, {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
