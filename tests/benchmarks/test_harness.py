"""The benchmarks measure what they say: the same work, checked from outside, and nothing left behind. No times."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import large_files, local_steps, many_steps, report
from benchmarks.hosts import Hosts, WrongState
from benchmarks.many_steps import Failed
from benchmarks.results import Cell, Collection, Table, machine
from benchmarks.runner import Slow, Usage, descendants, run
from benchmarks.tools import TOOLS, Site
from benchmarks.work import ROOT, Work
from tests.conftest import HandOut
from tests.lab import Lab

WORK = Work(2)
MEANS = ("ours", "cat", "sftp")
OWN = ("ours", "raw", "raw-ahead")


def go(tmp_path: Path, script: str, timeout: float = 20.0) -> Usage:
    return run(["/bin/sh", "-c", script], environment={"PATH": os.environ["PATH"]}, cwd=tmp_path, log=tmp_path / "log",
               timeout=timeout)


# -- what a run costs


def test_the_time_and_memory_of_all_processes_count_even_of_those_left_behind(tmp_path: Path) -> None:
    (tmp_path / "spin.py").write_text("import time\nblock = b'x' * 30_000_000\nwhile time.process_time() < 0.6: pass\n")
    spin = f"{sys.executable} spin.py"
    usage = go(tmp_path, f"setsid {spin} & {spin}; exit 3")
    assert usage.exit == 3
    assert usage.cpu >= 1.2
    assert usage.memory > 30_000_000


def test_nothing_outlives_a_measurement(tmp_path: Path) -> None:
    stubborn = "setsid sh -c 'trap : TERM; echo $$ >stubborn; while sleep 1; do :; done' &"
    go(tmp_path, f"setsid sleep 1000 & echo $! >pid; {stubborn} while [ ! -s stubborn ]; do sleep 0.02; done")
    for name in ("pid", "stubborn"):
        assert not Path("/proc", (tmp_path / name).read_text().strip()).exists()


def test_a_program_that_takes_too_long_is_ended_and_said_to_be_slow(tmp_path: Path) -> None:
    with pytest.raises(Slow):
        go(tmp_path, "echo $$ >pid; sleep 1000", timeout=0.3)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_measurement_that_is_killed_takes_its_program_with_it(tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from benchmarks.runner import run\n"
            "run(['/bin/sh', '-c', 'echo $$ >pid; exec sleep 1000'], environment={'PATH': '/usr/bin:/bin'}, "
            "cwd=Path(sys.argv[1]), log=Path('/dev/null'), timeout=100)")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        time.sleep(0.01)
    assert int(pid.read_text()) in descendants(process.pid)
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while Path("/proc", pid.read_text().strip()).exists():
        assert time.monotonic() < until
        time.sleep(0.02)


# -- the work


@pytest.mark.lab
def test_ours_and_the_yardstick_do_the_same_work_and_are_compared(lab: Lab, lab_hosts: HandOut, tmp_path: Path) -> None:
    assert lab_hosts(1) == [next(iter(lab.hosts))], "the benchmarks take the lab's first hosts"
    table = Table("steps", "a title", {name: TOOLS[name].label for name in OWN})
    many_steps.measure(lab, [1], WORK, OWN, 1, tmp_path / "work", table)
    assert list(table.rows) == ["1 host, preview", "1 host, first run", "1 host, no-change run"]
    for row, cells in table.rows.items():
        assert [*cells] == [*OWN], row
        for name, cell in cells.items():
            assert cell.seconds > 0 and cell.cpu > 0 and cell.memory > 10_000_000 and cell.hosts_cpu is not None
            assert (table.ratio(row, name) is None) == (name == "ours")


@pytest.mark.lab
def test_a_host_in_another_state_than_the_works_is_noticed(lab: Lab, lab_hosts: HandOut, tmp_path: Path) -> None:
    hosts = Hosts(lab, lab_hosts(1))
    [name] = hosts.names
    hosts.empty()
    hosts.is_empty()
    with pytest.raises(WrongState):
        hosts.check(WORK)
    tool = TOOLS["raw"](Site(lab, hosts.names, WORK, tmp_path))
    tool.prepare()
    many_steps.one(tool, "first", hosts)
    for spoil, repair in ((f"chmod 600 {ROOT}/file-1", f"chmod 640 {ROOT}/file-1"),
                          (f"cp {ROOT}/copy-2 {ROOT}/keep; echo >>{ROOT}/copy-2", f"mv {ROOT}/keep {ROOT}/copy-2"),
                          (f"touch {ROOT}/more", f"rm {ROOT}/more"),
                          (f"chown 1 {ROOT}/file-2", f"chown 0 {ROOT}/file-2")):
        lab.sh(name, spoil)
        with pytest.raises(WrongState):
            hosts.check(WORK)
        lab.sh(name, repair)
        hosts.check(WORK)
    with pytest.raises(WrongState, match="something"):
        hosts.is_empty()


@pytest.mark.lab
def test_a_tool_that_fails_is_no_result(lab: Lab, lab_hosts: HandOut, tmp_path: Path) -> None:
    hosts = Hosts(lab, lab_hosts(1))
    lab.sh(hosts.names[0], f"rm -rf {ROOT}; echo >{ROOT}")
    for name in ("ours", "raw"):
        folder = tmp_path / name
        folder.mkdir()
        tool = TOOLS[name](Site(lab, hosts.names, WORK, folder))
        tool.prepare()
        with pytest.raises(Failed, match="exit"):
            many_steps.one(tool, "first", hosts)


@pytest.mark.lab
def test_a_tool_that_leaves_a_wrong_state_has_no_row_and_the_table_says_so(
        lab: Lab, lab_hosts: HandOut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab_hosts(1)
    work = Work(1)
    monkeypatch.setattr(TOOLS["raw"], "command", lambda self, phase: ["true"])
    table = Table("steps", "a title", {"raw": "Raw"})
    many_steps.measure(lab, [1], work, ["raw"], 2, tmp_path, table, ["first"])
    assert table.failed and not table.rows and "file-1" in table.notes[0]


@pytest.mark.lab
def test_what_the_hosts_pay_is_counted_and_so_is_what_ended(lab: Lab, lab_hosts: HandOut) -> None:
    hosts = Hosts(lab, lab_hosts(1))
    before = hosts.cpu()
    assert lab.ssh(hosts.names[0], "python3 -c 'sum(range(3 * 10**7))'").returncode == 0
    until = time.monotonic() + 5
    while hosts.cpu() - before < 0.2:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.lab
def test_masters_of_shared_connections_are_ended(lab: Lab, lab_hosts: HandOut, tmp_path: Path) -> None:
    [name] = lab_hosts(1)
    tool = TOOLS["ansible"](Site(lab, [name], WORK, tmp_path))
    (tmp_path / "cp").mkdir()
    control = tmp_path / "cp" / "master"
    subprocess.run(["ssh", "-F", lab.layout.ssh_config, "-M", "-N", "-f", "-o", f"ControlPath={control}", name],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert control.exists()
    tool.close()
    until = time.monotonic() + 5
    while control.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.lab
def test_files_go_there_and_back_and_are_compared(lab: Lab, lab_hosts: HandOut, tmp_path: Path) -> None:
    lab_hosts(1)
    table = large_files.measure(lab, 1, 1, tmp_path / "files", MEANS)
    assert [*table.rows] == ["to a host, empty", "from a host, empty", "to a host", "from a host"]
    assert all([*cells] == [*MEANS] for cells in table.rows.values())


def test_local_operations_are_done_once_each_by_both(tmp_path: Path) -> None:
    table = local_steps.measure([3], 1, tmp_path)
    assert [*table.rows] == ["6 operations, plan", "6 operations, apply"]
    assert ("terraform" in table.columns) == (shutil.which("terraform") is not None)
    assert all([*cells] == [*table.columns] for cells in table.rows.values())


def test_without_terraform_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = {folder for folder in os.environ["PATH"].split(":") if (Path(folder) / "terraform").exists()}
    monkeypatch.setenv("PATH", ":".join(folder for folder in os.environ["PATH"].split(":") if folder not in with_it))
    table = local_steps.measure([1], 1, tmp_path)
    assert "not measured" in table.notes[-1] and [*table.columns] == ["ours"]


# -- the report


def usage(seconds: float) -> Usage:
    return Usage(0, seconds, seconds / 2, 1_000_000)


def test_medians_spreads_and_ratios() -> None:
    collection = Collection(Table("t", "Title", {"ours": "Ours", "other": "Other <&>"}))
    for seconds in (3.0, 1.0, 2.0):
        collection.add("row", "ours", usage(seconds), hosts_cpu=seconds)
        collection.add("row", "other", usage(seconds * 4))
    table = collection.table()
    assert table.rows["row"]["ours"] == Cell(2.0, 1.0, 1_000_000, 3, (1.0, 3.0), hosts_cpu=2.0)
    assert table.ratio("row", "other") == 4.0 and table.ratio("row", "ours") is None
    table.about = machine()
    said = report.text([table])
    assert "8.00 (4.00x)" in said and table.about["date"] in said
    document = json.loads(report.as_json([table]))
    assert document["tables"][0]["ratios"]["row"] == {"ours": None, "other": 4.0}
    assert report.load(report.as_json([table])) == [table]
    assert "| row | 2.00 | 8.00 (4.00x) |" in report.markdown([table])


def test_the_ratio_of_large_files_is_that_of_the_rates() -> None:
    table = Table("t", "", {"ours": "a", "cat": "b"})
    table.rows["row"] = {"ours": Cell(10, 1, 1, 1, (1, 1), rate=300e6), "cat": Cell(1, 1, 1, 1, (1, 1), rate=200e6)}
    assert table.ratio("row", "cat") == 1.5


def test_the_picture_is_well_formed_and_longer_bars_are_longer_times() -> None:
    table = Table("t", "Title", {"ours": "Ours", "other": "Other <&>"})
    table.rows["row"] = {"ours": Cell.of([usage(0.1)]), "other": Cell.of([usage(10.0)])}
    root = ET.fromstring(report.svg([table]))
    bars = [float(rect.get("width", "0")) for rect in root.iter("{http://www.w3.org/2000/svg}rect")
            if rect.get("x") == "250"]
    assert len(bars) == 2 and bars[0] < bars[1]
