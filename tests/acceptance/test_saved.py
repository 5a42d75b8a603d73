"""A saved plan is carried out exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.acceptance.world import World, differences

pytestmark = pytest.mark.lab

STEPS = """
- id: config
  file: {path: /srv/config, content: "{{ inputs.level }} {{ vars.color }}\\n"}
- id: template
  file: {path: /srv/template, template: config.j2}
- id: source
  copy: {source: tree, path: /srv/tree}
- id: line
  lineinfile: {path: /srv/lines, line: new}
"""

MOVES = {
    "the plan": (lambda here: here.write("plan.yaml", here.texts["plan.yaml"] + "# one more line\n"), "plan.yaml"),
    "a template": (lambda here: here.write("config.j2", "other\n"), "config.j2"),
    "a copied file": (lambda here: here.write("tree/one", "other\n"), "tree"),
    "a variable of the inventory": (lambda here: here.write(
        "inventory.json", here.texts["inventory.json"].replace("blue", "red")), "inventory"),
    "a file on a host": (lambda here: here.lab.sh(here.hosts[1], "echo by hand >>/srv/lines"), "line on h2"),
    "a file's mode on a host": (lambda here: here.lab.sh(here.hosts[0], "chmod 0600 /srv/lines"), "line on h1"),
    "a file that appeared": (lambda here: here.lab.sh(here.hosts[0], "echo >/srv/config"), "config on h1"),
}
"""What may move, how it does, and what the refusal names."""


@pytest.fixture
def two(world: Callable[..., World]) -> World:
    """Two hosts, a plan of which `FILE.plan` is the saved preview, and `texts`, the files as they were then."""
    here = world(2)
    here.env["ULTRAPLAN_INPUT_LEVEL"] = "info"
    here.inventory({name: {} for name in here.hosts}, color="blue")
    here.write("config.j2", "{{ inputs.level }}\n")
    here.write("tree/one", "1\n")
    here.sh("echo old >/srv/lines")
    here.plan(STEPS, inputs={"level": {"type": "string"}})
    here.texts = {name: (here.folder / name).read_text() for name in
                  ("plan.yaml", "config.j2", "tree/one", "inventory.json")}
    return here


def test_a_saved_plan_is_refused_with_what_moved_and_else_done_exactly_once(two: World) -> None:
    two.on("plan", "plan.yaml", "-o", "FILE.plan").expect(0)
    saved = two.folder / "FILE.plan"
    assert saved.stat().st_mode & 0o7777 == 0o600
    for name, (move, named) in MOVES.items():
        move(two)
        before = two.trees(ctimes=True)
        refused = two.run("apply", "FILE.plan").expect(3)
        assert named in refused.err, f"{name}: {refused.said}"
        assert differences(before, two.trees(ctimes=True)) == [], name
        for file, text in two.texts.items():
            two.write(file, text)
        two.sh("echo old >/srv/lines; chmod 0644 /srv/lines; rm -f /srv/config")

    two.env["ULTRAPLAN_INPUT_LEVEL"] = "debug"  # the saved plan has its inputs: these do not matter
    two.run("apply", "FILE.plan").expect(0)

    for host in two.hosts:
        assert two.text(host, "/srv/config") == "info blue\n"
        assert two.text(host, "/srv/template") == "info\n"
        assert two.text(host, "/srv/lines") == "old\nnew\n"
    again = two.run("apply", "FILE.plan", "--json").expect(3).result
    assert again["kind"] == "stale" and "applied before" in again["moved"][0]


def test_a_saved_plan_shows_what_the_preview_showed(two: World) -> None:
    shown = two.on("plan", "plan.yaml", "--json", "-o", "FILE.plan").expect(0).result
    assert shown == json.loads((two.folder / "FILE.plan").read_text())
    assert {(one["node"], one["host"]): one["action"] for one in shown["operations"]} == {
        (node, host): "change" for node in ("config", "template", "source", "line") for host in two.hosts}
    two.run("apply", "FILE.plan", "-e", "level=debug").expect(2)
