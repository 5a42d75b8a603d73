"""Commands that do not behave, through the real program, on a lab host and on this machine: the right exit code,
bounded memory and disk, and after a timeout nothing of them runs any more."""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.world import STATE, Done, World
from tests.lab import Lab

pytestmark = pytest.mark.lab

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("misbehaviour.yaml").read_text())
SAMPLE = ("changes its session and hangs", "is a look that changes its session and hangs",
          "leaves a daemon behind that keeps its output open")
LEFT = re.compile(r"sleep 471\d")


def step(case: dict[str, Any]) -> dict[str, Any]:
    way_back = {"reads_only": True} if case.get("reads_only") else {"irreversible": "it is only tried"}
    return {"id": "odd", "command": case["run"], "timeout": case.get("timeout", "60s"), **way_back}


def outputs(done: Done) -> dict[str, Any]:
    events = [line["event"] for line in done.lines if line["format"] == "ultraplan/event"]
    return next((event.get("outputs", {}) for event in events if event["type"] == "verified"), {})


def check(case: dict[str, Any], done: Done, took: float, left: list[str]) -> None:
    assert done.code == (0 if case["ok"] else 1), done.said
    assert "Traceback" not in done.out + done.err
    assert "\x1b" not in done.out and "\x00" not in done.out
    if "says" in case:
        assert case["says"] in done.result["cause"], done.said
    if "out" in case:
        assert outputs(done)["stdout"] == case["out"], done.said
    for word in case.get("holds", ()):
        assert word in outputs(done)["stdout"]
    assert took < case.get("seconds", 60)
    assert bool(left) == case.get("stays", False), left


def apply(here: World, case: dict[str, Any]) -> tuple[Done, float]:
    plan = here.plan([step(case)], on_failure="stop")
    began = time.monotonic()
    return here.apply(plan, "--json"), time.monotonic() - began


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] in SAMPLE], ids=lambda case: case["id"])
def test_what_a_command_does_that_does_not_behave(world: Callable[..., World], case: dict[str, Any]) -> None:
    on_a_host(world(1), case)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["debian", "busybox"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_on_any_host(world: Callable[..., World], case: dict[str, Any], kind: str) -> None:
    on_a_host(world(1, kind), case)


def on_a_host(here: World, case: dict[str, Any]) -> None:
    host, = here.hosts
    done, took = apply(here, case)
    check(case, done, took, LEFT.findall(_processes(here.lab.pids()[host])))


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in CASES if not case.get("stays")], ids=lambda case: case["id"])
def test_on_this_machine(lab: Lab, tmp_path: Path, case: dict[str, Any]) -> None:
    here = World(lab, [], tmp_path / "here")
    here.write("inventory.json", json.dumps({"all": {"hosts": {"here": {
        "ansible_connection": "local", "ultraplan_state_dir": str(here.folder / "host")}}}}))
    done, took = apply(here, case)
    check(case, done, took, LEFT.findall(_processes(os.getpid(), str(here.folder))))


def _processes(pid: int, only: str = "") -> str:
    """The command lines of the processes in the pid namespace of ``pid``; of those that have ``only`` in their
    environment."""
    space = Path(f"/proc/{pid}/ns/pid").readlink()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns/pid").readlink() == space and only.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:  # it ended
            continue
    return "\n".join(found)


FLOODS = {
    "stdout": "head -c {size} /dev/zero | tr '\\0' 'x'; echo; echo the end; exit 3",
    "stderr": "head -c {size} /dev/zero | tr '\\0' 'y' >&2; echo the end >&2; exit 3",
    "both, without a newline": "head -c {half} /dev/zero & head -c {half} /dev/zero >&2; wait; exit 3",
}


@pytest.mark.parametrize("way", ["irreversible: it is only tried"])
@pytest.mark.parametrize("where", [FLOODS["stdout"]], ids=["stdout"])
def test_a_flood_of_output_takes_neither_memory_nor_disk(
        world: Callable[..., World], where: str, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    flood(world(1), where, way, 64, capsys)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["debian", "busybox"])
@pytest.mark.parametrize("way", ["irreversible: it is only tried", "reads_only: true"])
@pytest.mark.parametrize("where", FLOODS.values(), ids=FLOODS)
def test_a_gigabyte_of_output_takes_neither_memory_nor_disk(
        world: Callable[..., World], where: str, way: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    flood(world(1, kind), where, way, 1024, capsys)


def flood(here: World, where: str, way: str, megabytes: int, capsys: pytest.CaptureFixture[str]) -> None:
    host, = here.hosts
    size = megabytes << 20
    command = where.format(size=size, half=size // 2)
    plan = here.plan([{"id": "flood", "command": command, "timeout": "200s", **yaml.safe_load(way)}],
                     on_failure="stop")
    quiet = here.plan([{"id": "quiet", "command": "exit 3", **yaml.safe_load(way)}], "quiet.yaml", on_failure="stop")
    ordinary, _ = _peak(here, quiet)
    began = time.monotonic()
    peak, done = _peak(here, plan)
    took = time.monotonic() - began
    on_disk = int(here.lab.sh(host, f"du -sk {STATE} 2>/dev/null || echo 0").stdout.split()[0])
    with capsys.disabled():
        print(f"\n{megabytes} MB from {host}, {way.partition(':')[0]}: controller {ordinary} → {peak} MB, "
              f"host's state folder {on_disk} kB, {took:.1f} s", end="")
    assert "exit code 3" in done.result["cause"], done.said
    if "the end" in command and megabytes:
        assert "the end" in done.result["cause"], "the last lines are those that say what went wrong"
    assert peak < ordinary + 40, "megabytes more than a quiet run takes"
    assert on_disk < 4096
    assert len(done.out) < 1 << 20


def _peak(here: World, plan: Path) -> tuple[int, Done]:
    """The program's peak memory in MB, and how it ended."""
    process = here.start("apply", plan, "-i", "inventory.json", "--yes", "--json")
    out, err = process.stdout, process.stderr
    assert out is not None and err is not None
    said = out.read(), err.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert isinstance(usage, resource.struct_rusage)
    texts = (text.decode("utf-8", "backslashreplace") for text in said)
    return usage.ru_maxrss // 1024, Done(process.returncode, *texts)

