"""Trivial operations on this machine, in dependent pairs: a plan of ours, and Terraform's ``terraform_data``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.many_steps import Failed
from benchmarks.results import Collection, Table
from benchmarks.runner import Slow, Usage, run

_TIMEOUT = 900.0


def measure(pairs: Sequence[int], repeat: int, folder: Path) -> Table:
    """``plan`` and ``apply`` of twice as many operations. Raises `Failed` where not each was done, once."""
    table = Table("local", "Trivial operations on this machine, each second one after its first",
                  {"ours": "ultraplan", "terraform": "Terraform"})
    binary = shutil.which("terraform")
    table.notes.append("Ours run a command each (a line to a file), with journal, receipts and a way back; Terraform's "
                       "only write its state.")
    if binary is None:
        table.notes.append("Terraform is not installed here: not measured.")
        del table.columns["terraform"]
    collection = Collection(table)
    for count in pairs:
        for _ in range(repeat):
            for name in table.columns:
                where = folder / name
                shutil.rmtree(where, ignore_errors=True)
                where.mkdir(parents=True, mode=0o700)
                one = _ours if name == "ours" else _terraform
                try:
                    one(collection, count, where)
                except Slow as slow:
                    table.notes.append(f"{table.columns[name]}, {2 * count} operations: {slow}")
    return collection.table()


def _ours(collection: Collection, pairs: int, folder: Path) -> None:
    steps: list[object] = []
    for number in range(pairs):
        for letter, needs in (("a", []), ("b", [f"a{number}"])):
            steps.append({"id": f"{letter}{number}", "needs": needs, "undo": {"command": ":"},
                          "command": f"echo {letter}{number} >>{folder}/done"})
    (folder / "plan.yaml").write_text(json.dumps({"plan": "local", "hosts": "localhost", "steps": steps}))
    (folder / "inventory.yaml").write_text(json.dumps({"all": {"hosts": {"localhost": {
        "ansible_connection": "local", "ultraplan_state_dir": str(folder / "host")}}}}))
    for verb in (["plan"], ["apply", "--yes"]):
        usage = _run([str(Path(sys.executable).with_name("ultraplan")), *verb, "--no-color",
                      "--state", str(folder / "state"), "-i", str(folder / "inventory.yaml"),
                      str(folder / "plan.yaml")], folder)
        collection.add(f"{2 * pairs} operations, {verb[0]}", "ours", usage)
    done = (folder / "done").read_text().split()
    if sorted(done) != sorted(f"{letter}{number}" for number in range(pairs) for letter in "ab"):
        raise Failed(f"{len(done)} of {2 * pairs} commands ran")
    if any(done.index(f"b{number}") < done.index(f"a{number}") for number in range(0, pairs, max(1, pairs // 50))):
        raise Failed("a command ran before the one that it needs")


def _terraform(collection: Collection, pairs: int, folder: Path) -> None:
    (folder / "main.tf").write_text("".join(
        f'resource "terraform_data" "a{n}" {{\n  input = "{n}"\n}}\n'
        f'resource "terraform_data" "b{n}" {{\n  input = terraform_data.a{n}.output\n}}\n' for n in range(pairs)))
    _run(["terraform", "init", "-no-color", "-input=false"], folder)
    for verb in (["plan"], ["apply", "-auto-approve"]):
        usage = _run(["terraform", verb[0], "-no-color", "-input=false", *verb[1:]], folder)
        collection.add(f"{2 * pairs} operations, {verb[0]}", "terraform", usage)
    listed = subprocess.run(["terraform", "state", "list"], cwd=folder, check=True, capture_output=True, text=True,
                            env=_environment(folder))
    if len(listed.stdout.split()) != 2 * pairs:
        raise Failed(f"Terraform made {len(listed.stdout.split())} of {2 * pairs} resources")


def _run(argv: list[str], folder: Path) -> Usage:
    usage = run(argv, environment=_environment(folder), cwd=folder, log=folder / "log", timeout=_TIMEOUT)
    if usage.exit != 0:
        raise Failed(f"{argv[0]} {argv[1]}: exit {usage.exit}\n{(folder / 'log').read_text()[-2000:]}")
    print(f"  {Path(argv[0]).name} {argv[1]}: {usage.seconds:.2f} s", file=sys.stderr, flush=True)
    return usage


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "CHECKPOINT_DISABLE": "1"}
