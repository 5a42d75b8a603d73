"""The world of examples/ultramcp comes up, answers, and goes away; the plans fit it; the demonstration succeeds."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ultraplan.graph.compile import compile_plan
from ultraplan.inventory.load import load_inventory
from ultraplan.language.inputs import resolve_inputs
from ultraplan.language.plan import Language
from ultraplan.steps.params import schema
from ultraplan.steps.registry import registry

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "plans" / "ultramcp").glob("*.yaml"))


@pytest.fixture(scope="module")
def world() -> ModuleType:
    spec = importlib.util.spec_from_file_location("world", ROOT / "examples" / "ultramcp" / "world.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def running(world: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ultramcp") / "a world's folder"
    world.up(folder)
    yield folder
    world.down(folder)


def hosts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "inventory.yaml").read_text())["ultramcp"]["hosts"]
    return found


def test_every_service_of_the_world_is_healthy(running: Path) -> None:
    for values in hosts(running).values():
        with urllib.request.urlopen(f"http://127.0.0.1:{values['port']}/health", timeout=5) as reply:
            assert json.load(reply)["healthy"] is True


def test_taking_the_world_down_leaves_no_process_and_no_file(world: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "world"
    world.up(folder)
    pids = [int(path.read_text()) for path in folder.glob("*/run/*.pid")]
    assert len(pids) == len(world.MACHINES) and all(Path(f"/proc/{pid}").exists() for pid in pids)
    world.down(folder)
    assert not folder.exists()
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    assert all(not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z" for stat in states)


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_the_plans_compile_for_the_world(running: Path, plan: Path) -> None:
    types = registry()
    language = Language(types, schema)
    document = language.load(plan)
    given = {"release": "2.0", "snapshot": "monday"}
    inputs = resolve_inputs(document, {name: given[name] for name in given if name in document.inputs})
    graph = compile_plan(document, load_inventory([running / "inventory.yaml"]), inputs, step_types=types,
                         load=language.load)
    assert set(graph.hosts) == set(hosts(running)) and graph.nodes


@pytest.mark.long
def test_the_demonstration_succeeds() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "examples" / "ultramcp" / "demo.py")], cwd=ROOT, check=False,
                          capture_output=True, text=True, timeout=300, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
