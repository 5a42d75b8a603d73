"""A relative name means the same wherever a command is typed: it is below the folder of the file that says it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.program import Program
from ultraplan.engine.job import Request, compile_job
from ultraplan.engine.settings import find_settings
from ultraplan.engine.targets import target_of
from ultraplan.inventory import load_inventory
from ultraplan.inventory.variables import World
from ultraplan.secrets import rooted, shown
from ultraplan.vault import encrypt

PLAN = """\
plan: p
inputs:
  token: {secret: true, default: {secret: "file:token"}}
steps:
  - id: a
    file: {path: /nowhere/x, content: {secret: "file:../secrets/pw"}}
  - id: b
    file: {path: /nowhere/y, content: "{{ inputs.token }}{{ vars.pw }}"}
  - id: c
    include: {plan: sub/plan.yaml}
"""
FILES = {
    "plans/plan.yaml": PLAN,
    "plans/sub/plan.yaml": "plan: s\nsteps:\n- {id: a, file: {path: /nowhere/z, content: {secret: 'file:pw'}}}\n",
    "plans/sub/pw": "of the included plan", "secrets/pw": "of the repository", "plans/token": "of the plan",
    "inventories/pw": "of the inventory", "pw": "nobody's", "elsewhere/pw": "nobody's",
    "inventories/hosts": "web ansible_connection=local\n",
    "inventories/group_vars/all.yml": "pw: {secret: 'file:../pw'}\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("folder", [".", "plans", "elsewhere", "plans/sub"])
@pytest.mark.parametrize("absolute", [True, False])
def test_secrets_are_found_from_any_folder(
    repository: Path, folder: str, absolute: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = repository / folder
    monkeypatch.chdir(here)
    plan, hosts = (str(repository / one) if absolute else os.path.relpath(repository / one, here)
                   for one in ("plans/plan.yaml", "inventories/hosts"))
    job = compile_job(Request(plan=plan, inventory=(hosts,)), find_settings(here, {"HOME": str(repository)}, "state"))
    host = job.graph.inventory.hosts["web"]

    def content(node: str) -> str:
        found = job.graph.nodes[node]
        resolved = job.resolver.resolve(found, host, job.scope.names(found, host))
        return job.secrets.reveal(resolved.params.content)

    assert content("a") == "of the repository"
    assert content("b") == "of the planof the inventory"
    assert content("c/a") == "of the included plan"
    job.close()


def test_inputs_typed_by_a_person_are_below_the_folder_they_are_in(up: Program) -> None:
    up.write("secrets/pw", "hunter22")
    up.write("given/values.yaml", "{other: {secret: 'file:pw'}}")
    up.write("given/pw", "hunter23")
    content = "{{ inputs.one }} {{ inputs.other }}"
    plan = up.plan(f"- id: a\n  file: {{path: '{up.root}/a', content: '{content}'}}\n",
                   name="plans/plan.yaml", head="inputs: {one: {secret: true}, other: {secret: true}}\n")
    up("apply", plan, "--yes", "-e", "one=file:secrets/pw", "-e", "@given/values.yaml")
    assert (up.root / "a").read_text() == "hunter22 hunter23"


@pytest.mark.parametrize(("variables", "option", "expected"), [
    ("ansible_ssh_private_key_file=keys/id", "IdentityFile", "HERE/keys/id"),
    ("ansible_ssh_private_key_file='keys/my id'", "IdentityFile", "HERE/keys/my id"),
    ("ansible_ssh_private_key_file='{{ inventory_dir }}/k'", "IdentityFile", "HERE/k"),
    ("ansible_private_key_file=~/id", "IdentityFile", "~/id"),
    ("ansible_ssh_private_key_file=/abs/id", "IdentityFile", "/abs/id"),
    ("ansible_ssh_common_args='-i id -o UserKnownHostsFile=\"a b\"'", "IdentityFile", "HERE/id"),
    ("ansible_ssh_common_args='-o \"UserKnownHostsFile=a none ~/b\"'", "UserKnownHostsFile", "HERE/a none ~/b"),
])
def test_files_that_an_inventory_names_are_below_its_folder(
    tmp_path: Path, variables: str, option: str, expected: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hosts").write_text(f"web {variables}\n")
    for folder, name in ((tmp_path, "hosts"), (Path("/"), str(tmp_path / "hosts"))):
        monkeypatch.chdir(folder)
        target = target_of(World(load_inventory([name]))["web"])
        assert dict(target.options)[option] == expected.replace("HERE", str(tmp_path))


def test_the_configuration_file_of_ssh_too(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("web ansible_ssh_args='-F ssh.cfg'\n")
    assert target_of(World(load_inventory([tmp_path / "hosts"]))["web"]).config_file == f"{tmp_path}/ssh.cfg"


def test_a_vault_file_beside_the_plan(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository / "od%d #1"
    folder.mkdir()
    (folder / "v.yml").write_text(encrypt("a: {b: sealed}\n", b"pass"))
    (folder / "plan.yaml").write_text(
        "plan: p\nsteps: [{id: a, file: {path: /x, content: {secret: 'vault:v.yml#a.b'}}}]\n")
    (repository / "pass").write_text("pass")
    monkeypatch.setenv("ULTRAPLAN_VAULT_PASSWORD_FILE", str(repository / "pass"))
    monkeypatch.chdir("/")
    job = compile_job(Request(plan=str(folder / "plan.yaml"), inventory=("web,",)),
                      find_settings(repository, {"HOME": str(repository)}, "state"))
    reference, = job.graph.references
    assert job.secrets.value(reference) == "sealed"
    job.close()


def test_what_is_absolute_or_no_file_stays(tmp_path: Path) -> None:
    for one in ("env:X", "file:/a", "file:~/a", "vault:/a#b", "vault:~u/a#b", "vault:%2Fa#b"):
        assert rooted(one, tmp_path) == one
    assert shown(rooted("file:a b", Path("/x"))) == "file:/x/a b"
