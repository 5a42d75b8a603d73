"""Who runs when, and what a failure means: batches, budgets, strategies, rescues, retries, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.world import COUNTER, Done, World, differences

pytestmark = pytest.mark.lab

MARK = f"""
- id: mark
  command: "echo mark >>{COUNTER}"
  undo: {{command: "echo unmark >>{COUNTER}"}}
- id: config
  file: {{path: /srv/config, content: "new\\n"}}
- id: check
  command: test ! -e /srv/broken
  reads_only: true
- id: last
  command: "echo last >>{COUNTER}"
  undo: {{command: "echo unlast >>{COUNTER}"}}
"""


@pytest.fixture
def four(world: Callable[..., World]) -> World:
    return world(4)


def _ended(here: World) -> list[dict[str, int]]:
    return [here.counts(host) for host in here.hosts]


UNDONE = {"mark": 1, "unmark": 1}
DONE = {"mark": 1, "last": 1}
ALL_UNDONE = {"mark": 1, "last": 1, "unlast": 1, "unmark": 1}


@pytest.mark.parametrize(("keys", "broken", "code", "status", "ends"), [
    ({}, [2], 1, "rolled_back", [UNDONE] * 4),
    ({"serial": [1, "50%"]}, [1], 1, "rolled_back", [ALL_UNDONE, UNDONE, UNDONE, {}]),
    ({"serial": [1, "50%"], "rollback": {"scope": "batch"}}, [2], 1, "failed", [DONE, UNDONE, UNDONE, {}]),
    ({"serial": 2, "rollback": {"scope": "host"}}, [0], 1, "failed", [UNDONE, {"mark": 1}, {}, {}]),
    ({"max_fail_percentage": 25}, [1], 1, "failed", [DONE, UNDONE, DONE, DONE]),
    ({"max_fail_percentage": 25}, [1, 2], 1, "rolled_back", [UNDONE] * 4),
    ({"max_fail_percentage": 50, "serial": 2}, [0, 2], 1, "failed", [UNDONE, DONE, UNDONE, DONE]),
    ({"on_failure": "stop"}, [1], 1, "failed", [{"mark": 1}] * 4),
    ({"on_failure": "continue"}, [1], 0, "succeeded", [DONE] * 4),
], ids=str)
def test_a_failure_reaches_as_far_as_the_plan_says(
        four: World, keys: dict[str, Any], broken: list[int], code: int, status: str, ends: list[dict[str, int]],
) -> None:
    for index in broken:
        four.lab.sh(four.hosts[index], "touch /srv/broken")
    plan = four.plan(MARK, **keys)

    result = four.apply(plan, "--json").expect(code).result

    assert (result["status"], _ended(four)) == (status, ends)
    for host, end in zip(four.hosts, ends, strict=True):
        assert four.text(host, "/srv/config") == ("new\n" if end in (DONE, {"mark": 1}) else "")


def _order(done: Done, kind: str) -> list[tuple[str, str]]:
    """Step and host of the events of a kind, in order."""
    events = [line["event"] for line in done.lines if line["format"] == "ultraplan/event"]
    return [(event["node"], event["host"]) for event in events if event["type"] == kind]


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_a_slow_host_holds_the_others_back_unless_the_strategy_is_free(four: World, strategy: str) -> None:
    slow, fast = four.hosts[0], four.hosts[1:]
    plan = four.plan("""
- {id: one, command: "sleep {{ host.vars.pause | default(0) }}", irreversible: it does nothing}
- {id: two, command: "true", irreversible: it does nothing}
- {id: once, command: "id; hostname", run_once: true, reads_only: true}
- {id: used, file: {path: /srv/once, content: "{{ steps.once.outputs.stdout }}"}}
""", strategy=strategy)
    four.inventory({slow: {"pause": 1}, **{host: {} for host in fast}})

    done = four.apply(plan, "--json").expect(0)

    verified = _order(done, "verified")
    early = [verified.index(("two", host)) < verified.index(("one", slow)) for host in fast]
    assert early == [strategy == "free"] * 3
    assert [key for key in verified if key[0] == "once"] == [("once", slow)]
    assert {four.text(host, "/srv/once") for host in four.hosts} == {
        f"{four.lab.sh(slow, 'id; hostname').stdout.strip()}"}


RESCUE = f"""
- id: upgrade
  block:
    - id: link
      link: {{path: /srv/current, target: new}}
    - id: restart
      command: "echo restart-new >>{COUNTER}; test -e /srv/new-works"
      undo: {{command: "echo unrestart >>{COUNTER}"}}
  rescue:
    - id: previous
      block:
        - id: back
          link: {{path: /srv/current, target: old}}
        - id: again
          command: "echo restart-old >>{COUNTER}; test -e /srv/old-works"
          undo: {{command: "echo unagain >>{COUNTER}"}}
      rescue:
        - id: restore
          command: "echo restore >>{COUNTER}; test -e /srv/backup-works"
          undo: {{command: "echo unrestore >>{COUNTER}"}}
  always:
    - id: report
      command: "echo report >>{COUNTER}"
      undo: {{command: "echo unreport >>{COUNTER}"}}
- id: after
  file: {{path: /srv/after, content: "{{{{ steps.restart.failed }}}} {{{{ steps.again.status }}}}"}}
"""


@pytest.mark.parametrize(("works", "code", "lines", "after"), [
    ("new", 0, ["restart-new", "report"], "false skipped"),
    ("old", 0, ["restart-new", "restart-old", "report"], "true changed"),
    ("backup", 0, ["restart-new", "restart-old", "restore", "report"], "true failed"),
    ("nothing", 1, ["restart-new", "restart-old", "restore", "report", "unreport", "unrestore", "unagain", "unrestart"],
     ""),
])
def test_where_a_restart_fails_the_rescue_goes_back_and_where_that_fails_restores(
        world: Callable[..., World], works: str, code: int, lines: list[str], after: str) -> None:
    here = world(1)
    host, = here.hosts
    here.sh(f"touch /srv/{works}-works; ln -s old /srv/current")
    before = here.trees()

    done = here.apply(here.plan(RESCUE)).expect(code)

    assert here.text(host, COUNTER).split() == lines, done.said
    assert here.text(host, "/srv/after") == after
    if code:
        assert differences(before, here.trees()) == []
    else:
        assert here.lab.path(host, "/srv/current").readlink().name == ("new" if works == "new" else "old")


def test_tries_again_until_it_is_so_and_not_for_ever(world: Callable[..., World]) -> None:
    here = world(1)
    host, = here.hosts
    plan = here.plan(f"""
- id: third
  command: "echo try >>{COUNTER}; wc -l <{COUNTER}"
  until: (outputs.stdout | int) >= 3
  retries: 5
  delay: 100ms
  undo: {{command: "echo untry >>{COUNTER}"}}
- id: never
  command: "echo never >>{COUNTER}; exit 3"
  retries: 2
  delay: 100ms
  undo: {{command: "echo unnever >>{COUNTER}"}}
""".replace("outputs.stdout", "steps.third.outputs.stdout"))

    done = here.apply(plan).expect(1)

    assert here.counts(host) == {"try": 3, "never": 3, "unnever": 1, "untry": 1}, done.said
    assert "cause: never on h1: exit code 3" in done.out


def test_a_command_that_hangs_is_ended_with_all_it_started(world: Callable[..., World]) -> None:
    here = world(1)
    host, = here.hosts
    plan = here.plan(f"""
- id: hangs
  command: "trap '' TERM HUP; sleep 4711 & sleep 4712 & echo started >>{COUNTER}; wait; sleep 4713"
  timeout: 1s
  undo: {{command: "echo undone >>{COUNTER}"}}
""")

    done = here.apply(plan, timeout=30).expect(1)

    assert "did not end within 1 s and was ended" in done.out, done.said
    assert here.counts(host) == {"started": 1, "undone": 1}
    assert here.lab.sh(host, "ps ax | grep '[s]leep 471'", check=False).stdout == ""


def test_limits_tags_includes_and_loops_select_and_repeat(four: World) -> None:
    four.write("parts/part.yaml", """
plan: part
inputs: {name: {type: string}, times: {type: list}}
steps:
  - id: write
    file: {path: "/srv/{{ inputs.name }}-{{ item }}", content: "{{ vars.greeting }} {{ index }}"}
    loop: "{{ inputs.times }}"
    tags: [files]
""")
    plan = four.plan("""
- id: parts
  include: {plan: parts/part.yaml, inputs: {name: "{{ item }}", times: [x, y]}, vars: {greeting: hello}}
  loop: [one, two]
- id: other
  file: {path: /srv/other, content: ""}
  tags: other
- id: seen
  file: {path: /srv/seen, content: "{{ index is defined }}"}
  tags: [files]
""")

    four.apply(plan, "--limit", f"{four.hosts[1]},{four.hosts[3]}", "--tags", "files").expect(0)

    files = {host: four.lab.sh(host, "cd /srv && for f in *; do echo $f=$(cat $f); done").stdout.split("\n")[:-1]
             for host in four.hosts}
    assert files[four.hosts[1]] == files[four.hosts[3]] == [
        "one-x=hello 0", "one-y=hello 1", "seen=false", "two-x=hello 0", "two-y=hello 1"]
    for host in (four.hosts[0], four.hosts[2]):
        assert not any(line.startswith(("one", "two", "seen")) for line in files[host])
