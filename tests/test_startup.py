"""`ultraplan --help` is quick, because it loads next to nothing: judged by the modules it loads, not by a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "asyncio", "boto3", "botocore", "cryptography", "fabric", "httpx", "invoke", "jinja2", "jsonschema", "msgspec",
    "networkx", "paramiko", "pyrage", "rich", "sqlite3", "yaml", "zstandard",
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


PLAN = """\
plan: thirty steps
hosts: web
inputs: {version: {default: "1"}}
vars: {root: /srv}
steps:
""" + "".join(f"""\
- id: file_{n}
  file: {{path: "{{{{ vars.root }}}}/{n}", content: "{{{{ inputs.version }}}}", mode: "0640"}}
- id: command-{n}
  command: "migrate --to {{{{ inputs.version }}}}"
  undo: {{command: migrate --back}}
  when: steps.file_{n}.changed
- id: http-{n}
  http: {{url: "http://{{{{ host.address }}}}:8080/", status: 200}}
""" for n in range(10))


def test_validating_a_plan_loads_what_the_plan_needs_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "hosts.ini").write_text("[web]\nweb[1:3] ansible_host=192.0.2.1\n")
    loaded = modules("validate", str(tmp_path / "plan.yaml"), "-i", str(tmp_path / "hosts.ini"))
    assert {name.split(".")[0] for name in loaded} & HEAVY == {"msgspec", "yaml"}
    wanted = {f"ultraplan.steps.{name}" for name in ("files", "commands", "checks")}
    assert wanted <= set(loaded)
    unwanted = {"archives", "backups", "edits", "flow", "services", "trees"}
    assert not {f"ultraplan.steps.{name}" for name in unwanted} & set(loaded)
    assert not {name for name in loaded if name.startswith(("importlib.metadata", "difflib", "subprocess", "email"))}


def test_the_registry_knows_every_step_type_and_the_module_that_has_it() -> None:
    from ultraplan.steps.registry import registry

    for file in (ROOT / "ultraplan" / "steps").glob("*.py"):
        for kind in getattr(import_module(f"ultraplan.steps.{file.stem}"), "STEPS", ()):
            assert type(registry()[kind.name]) is kind
