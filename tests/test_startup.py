"""`ultraplan --help` is quick, because it loads next to nothing: judged by the modules it loads, not by a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "asyncio", "boto3", "botocore", "cryptography", "fabric", "httpx", "invoke", "jinja2", "jsonschema", "msgspec", "networkx", "paramiko",
    "pyrage", "rich", "sqlite3", "yaml", "zstandard",
}

PROBE = """
import json, sys
sys.argv = ["ultraplan", *json.loads(sys.argv[1])]
from ultraplan.cli.main import entry
try:
    status = entry()
except SystemExit as stop:
    status = stop.code
print("\\n" + json.dumps({"status": status or 0, "modules": sorted(sys.modules)}))
"""

pytestmark = pytest.mark.skipif(
    not (ROOT / "ultraplan/cli/main.py").exists(), reason="there is no command line yet"
)


def modules(*arguments: str) -> list[str]:
    """Names of the modules that are loaded when `ultraplan ARGUMENTS` ends."""
    command = [sys.executable, "-I", "-c", PROBE, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["status"] == 0
    names: list[str] = result["modules"]
    return names


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("plan", "--help"), ("apply", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert {name.split(".")[0] for name in modules(*arguments)} & HEAVY == set()


def test_help_loads_few_modules_of_its_own() -> None:
    ours = {name for name in modules("--help") if name.startswith("ultraplan")}
    assert len(ours) < 30, ours
