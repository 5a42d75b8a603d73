"""``python -m benchmarks.compile``: how long loading, validating and compiling take as plans and fleets grow.

Each row is a process of its own, so that its peak of memory is its own. No time is asserted here: a clock is no test
(see ``tests/graph/test_scale.py`` for what is). ``--json FILE`` writes the rows for programs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SIZES = ((500, 1_000, 0), (500, 10_000, 0), (1_000, 10, 0), (10_000, 10, 0), (10_000, 10, 400))
"""Steps, hosts, and how many characters each step is padded by (the last row is a plan of 5 MB)."""

QUICK = ((50, 100, 0), (100, 100, 0))


def plan_text(steps: int, padding: int = 0) -> str:
    """A plan of ``steps``: files, commands with an undo and a condition, HTTP checks with filters, folders."""
    pad = "x" * padding
    return "plan: big\nhosts: all\ninputs: {version: {default: '1'}}\nvars: {root: /srv}\nsteps:\n" + "".join(
        _step(number, pad) for number in range(steps))


def _step(number: int, pad: str) -> str:
    match number % 4:
        case 0:
            body = (f'file: {{path: "{{{{ vars.root }}}}/{number}", '
                    f'content: "{{{{ inputs.version }}}} {number} {pad}", mode: "0640"}}')
        case 1:
            body = (f'command: {{run: "migrate {number} --to {{{{ inputs.version }}}} {pad}"}}\n'
                    f'    undo: {{command: {{run: "migrate --back {number} {pad}"}}}}\n'
                    f'    when: steps.s{number - 1}.changed')
        case 2:
            body = (f'http: {{url: "http://{{{{ host.address }}}}:{{{{ vars.port | default(80) + {number} }}}}/{pad}", '
                    'status: 200}\n    retries: 3')
        case _:
            body = f'directory: {{path: "/d/{number}/{pad}"}}\n    tags: [t{number % 7}]'
    return f"  - id: s{number}\n    {body}\n"


def inventory_text(hosts: int) -> str:
    """An inventory of ``hosts`` with a variable that is a template."""
    return f"[web]\nh[1:{hosts}]\n[web:vars]\nport=8080\nurl=http://{{{{ inventory_hostname }}}}:{{{{ port }}}}\n"


def measure(folder: Path, steps: int, hosts: int, padding: int) -> dict[str, float]:
    """Seconds of CPU from files to a graph, imports and all; of which for the inventory; the peak of memory in MB."""
    start = time.process_time()
    from ultraplan.engine.compiled import Request, compile_request
    from ultraplan.engine.settings import find_settings
    from ultraplan.inventory.load import load_inventory

    imported = time.process_time() - start
    plan, source = folder / "plan.yaml", folder / "hosts.ini"
    plan.write_text(plan_text(steps, padding))
    source.write_text(inventory_text(hosts))
    settings = find_settings(folder, {"HOME": str(folder)}, str(folder / "state"))
    start = time.process_time()
    inventory = load_inventory([source])
    listed = time.process_time()
    compiled = compile_request(Request(plan=str(plan)), settings, inventory=inventory)
    end = time.process_time()
    assert (len(compiled.graph.nodes), len(compiled.graph.hosts)) == (steps, hosts)
    return {"steps": steps, "hosts": hosts, "megabytes": plan.stat().st_size / 1e6,
            "inventory": listed - start, "all": imported + end - start,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def rows(sizes: tuple[tuple[int, int, int], ...]) -> Iterator[dict[str, float]]:
    """A row for each size, each measured in a process of its own."""
    for steps, hosts, padding in sizes:
        with tempfile.TemporaryDirectory() as folder:
            words = [str(steps), str(hosts), str(padding)]
            done = subprocess.run([sys.executable, "-m", "benchmarks.compile", "--one", folder, *words],
                                  capture_output=True, text=True, check=True)
            yield json.loads(done.stdout)


def table(found: list[dict[str, float]]) -> str:
    """The rows as text. ``us/(step+host)`` is what grows where growth is more than linear."""
    lines = [f"{'steps':>7} {'hosts':>7} {'MB':>6} {'inventory s':>12} {'files to graph s':>16} "
             f"{'peak MB':>8} {'us/(step+host)':>15}"]
    for one in found:
        each = one["all"] / (one["steps"] + one["hosts"]) * 1e6
        lines.append(f"{one['steps']:>7} {one['hosts']:>7} {one['megabytes']:>6.2f} {one['inventory']:>12.2f} "
                     f"{one['all']:>16.2f} {one['peak_mb']:>8.0f} {each:>15.0f}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        folder, *sizes = args.one
        print(json.dumps(measure(Path(folder), *map(int, sizes))))
        return
    found = list(rows(QUICK if args.quick else SIZES))
    print(table(found))
    if args.json:
        document = {"format": "ultraplan/benchmark-compile", "version": 1, "rows": found}
        args.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
