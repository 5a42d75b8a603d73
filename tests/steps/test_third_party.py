"""Another package's step type is one like any other: examples/steps-package, installed beside the real program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "steps-package"
HOSTS = "# kept as it is\n127.0.0.1 localhost\n192.0.2.9\tdb1 db1.example.org # the old one\n::1 localhost db1\n"
PLAN = """\
plan: names
hosts: localhost
steps:
  - id: database
    hosts_entry: {name: db1, address: ADDRESS, path: "PATH"}
  - id: healthy
    command: CHECK
    reads_only: true
"""


class World:
    """A folder with a hosts file, a plan, and a place where packages are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site, self.hosts = folder, folder / "site", folder / "the hosts"
        self.site.mkdir()
        self.hosts.write_text(HOSTS)
        self.hosts.chmod(0o640)
        (folder / "inventory.ini").write_text(
            f"localhost ansible_connection=local ultraplan_state_dir={folder}/on-the-host\n")
        (folder / "ultraplan.yaml").write_text("inventory: inventory.ini\nstate: state\n")

    def install(self, **points: str) -> None:
        """What an installer makes of the package: its modules, and metadata with its entry points (or others)."""
        project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
        shutil.copytree(PACKAGE / "src", self.site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        info = self.site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
        [(group, declared)] = project["entry-points"].items()
        lines = "".join(f"{name} = {value}\n" for name, value in (points or declared).items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")

    def plan(self, address: str = "192.0.2.10", check: str = "true") -> str:
        """Write the plan, and give its path."""
        text = PLAN.replace("ADDRESS", address).replace("PATH", str(self.hosts)).replace("CHECK", f'"{check}"')
        (self.folder / "names.yaml").write_text(text)
        return str(self.folder / "names.yaml")

    def ultraplan(self, *words: str, code: int = 0) -> str:
        """What the program prints, on both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "ultraplan.cli.main", *words], cwd=self.folder, capture_output=True, text=True,
            timeout=60, check=False, stdin=subprocess.DEVNULL, env={
                **os.environ, "PYTHONPATH": f"{self.site}:{ROOT}"})
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_is_listed_and_documented(world: World) -> None:
    world.install()
    assert "One name's address in a hosts file" in world.ultraplan("steps")
    told = world.ultraplan("steps", "hosts_entry")
    assert "address" in told and "Its address, IPv4 or IPv6" in told and "name: db1" in told


def test_without_the_package_the_plan_is_refused_with_its_position(world: World) -> None:
    told = world.ultraplan("validate", world.plan(), code=2)
    assert "names.yaml:5:5: error" in told and "hosts_entry" in told


@pytest.mark.parametrize(("wrong", "right", "message"), [
    ("192.0.2.10", "192.0.2.300", "192.0.2.300"),
    ("name: db1", "name: db_1", "db_1"),
    ("address:", "adress:", "did you mean 'address'"),
])
def test_its_mistakes_are_found_before_a_host_is_touched(
        world: World, wrong: str, right: str, message: str) -> None:
    world.install()
    plan = Path(world.plan())
    plan.write_text(plan.read_text().replace(wrong, right))
    told = world.ultraplan("validate", str(plan), code=2)
    assert "names.yaml:5:" in told and message in told


def test_a_plan_shows_its_diff_and_changes_nothing(world: World) -> None:
    world.install()
    told = world.ultraplan("plan", world.plan())
    assert "-192.0.2.9\tdb1 db1.example.org # the old one" in told
    assert "+192.0.2.9\tdb1.example.org # the old one" in told and "+192.0.2.10 db1" in told
    assert world.hosts.read_text() == HOSTS


def test_it_is_applied_once_and_undone_to_the_very_file(world: World) -> None:
    world.install()
    before = world.hosts.stat()
    plan = world.plan()
    world.ultraplan("apply", plan, "--yes")
    assert world.hosts.read_text() == (
        "# kept as it is\n127.0.0.1 localhost\n192.0.2.9\tdb1.example.org # the old one\n::1 localhost db1\n"
        "192.0.2.10 db1\n")
    assert world.hosts.stat().st_mode == before.st_mode
    assert "plan: 1 to check, 1 unchanged" in world.ultraplan("plan", plan)

    world.ultraplan("rollback", "--yes")
    after = world.hosts.stat()
    assert world.hosts.read_text() == HOSTS
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)


def test_it_goes_back_by_itself_when_a_later_step_fails(world: World) -> None:
    world.install()
    told = world.ultraplan("apply", world.plan(check="false"), "--yes", code=1)
    assert "undone on localhost: database" in told
    assert world.hosts.read_text() == HOSTS


def test_it_is_not_undone_over_what_somebody_else_changed(world: World) -> None:
    world.install()
    world.ultraplan("apply", world.plan(), "--yes")
    changed = world.hosts.read_text() + "192.0.2.77 somebody-elses\n"
    world.hosts.write_text(changed)
    assert "changed since the run left it" in world.ultraplan("rollback", "--yes", code=4)
    assert world.hosts.read_text() == changed


@pytest.mark.parametrize(("points", "message"), [
    ({"file": "ultraplan_hosts_entry:HostsEntry"},
     "two packages bring a step type 'file': ultraplan and ultraplan-hosts-entry"),
    ({"hosts_entry": "ultraplan_hosts_entry:NoSuchThing"}, "ultraplan-hosts-entry cannot be loaded"),
    ({"hosts_entry": "no_such_module:Step"}, "No module named 'no_such_module'"),
    ({"hosts_line": "ultraplan_hosts_entry:HostsEntry"}, "no step type of that name"),
    ({"hosts_entry": "ultraplan_hosts_entry:edited"}, "cannot be loaded"),
])
def test_a_package_that_cannot_be_used_is_named(world: World, points: dict[str, str], message: str) -> None:
    world.install(**points)
    for words in (("steps",), ("validate", world.plan())):
        told = world.ultraplan(*words, code=2)
        assert message in told and "ultraplan-hosts-entry" in told
