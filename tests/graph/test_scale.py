"""What compiling does grows with steps plus hosts, not with steps times hosts: calls are counted, no clock is read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compile import inventory_text, plan_text
from ultraplan.engine.compiled import Request, compile_request
from ultraplan.engine.settings import find_settings


def calls(folder: Path, steps: int, hosts: int) -> int:
    """How many Python functions are called while a plan of ``steps`` is compiled on ``hosts``."""
    (folder / "plan.yaml").write_text(plan_text(steps))
    (folder / "hosts.ini").write_text(inventory_text(hosts))
    settings = find_settings(folder, {"HOME": str(folder)}, str(folder / "state"))
    request = Request(plan=str(folder / "plan.yaml"), inventory=(str(folder / "hosts.ini"),))
    count = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        compiled = compile_request(request, settings)
    finally:
        sys.setprofile(before)
    assert (len(compiled.graph.nodes), len(compiled.graph.hosts)) == (steps, hosts)
    return count


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], int]:
    """Calls by steps and hosts."""
    folder = tmp_path_factory.mktemp("scale")
    calls(folder, 8, 2)  # imports, schemas and filters are made once
    sizes = ((100, 10), (200, 10), (400, 10), (100, 400), (100, 800), (200, 800))
    return {size: calls(folder, *size) for size in sizes}


def test_calls_are_linear_in_steps(counts: dict[tuple[int, int], int]) -> None:
    first, second = counts[200, 10] - counts[100, 10], counts[400, 10] - counts[200, 10]
    assert second < 2.2 * first


def test_calls_are_linear_in_hosts(counts: dict[tuple[int, int], int]) -> None:
    early, late = (counts[100, 400] - counts[100, 10]) / 390, (counts[100, 800] - counts[100, 400]) / 400
    assert late < 1.2 * early, "calls for one more host"


def test_calls_do_not_grow_with_steps_times_hosts(counts: dict[tuple[int, int], int]) -> None:
    with_few, with_many = counts[200, 10] - counts[100, 10], counts[200, 800] - counts[100, 800]
    assert with_many < 1.2 * with_few, "calls for a hundred more steps"
