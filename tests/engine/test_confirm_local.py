"""`confirm` on this machine, with the real program: changes that keep everybody out, and SIGKILL around each write.

What is kept out is every new shell: the host's shell is a script that refuses while a file says so. Shells that are
open go on, as SSH connections do behind a firewall that lets in what is established.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_deadman import timers, until

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "ultraplan.cli.main")
WINDOW = 2
OVER = WINDOW + 2.5
"""Seconds after which the host has surely done what it does by itself."""
AMPLE = 120
"""Seconds in which even a slow machine has gone on with a run."""

PLAN = """\
plan: armed
inputs:
  host: {type: string}
  gate: {type: string}
  code: {type: integer, default: 0}
steps:
  - id: first
    file: {path: "{{ inputs.host }}/tree/first", content: "1"}
  - id: gate
    GATE
    confirm: 2s
  - id: last
    command: {run: "echo did >>{{ inputs.host }}/last; exit {{ inputs.code }}"}
    undo: {command: {run: "echo undid >>{{ inputs.host }}/last"}}
"""
OWN = 'file: {path: "{{ inputs.host }}/{{ inputs.gate }}", content: "shut"}'
DECLARED = """command: {run: "echo did >>{{ inputs.host }}/gates; touch {{ inputs.host }}/{{ inputs.gate }}"}
    undo: {command: {run: "echo undid >>{{ inputs.host }}/gates; rm -f {{ inputs.host }}/{{ inputs.gate }}"}}"""
SCRIPT = """script: {content: "echo did >>$1/gates\\ntouch $1/$2\\n", args: ["{{ inputs.host }}", "{{ inputs.gate }}"]}
    undo:
      script: {content: "echo undid >>$1/gates\\nrm $1/$2\\n", args: ["{{ inputs.host }}", "{{ inputs.gate }}"],
               removes: "{{ inputs.host }}/{{ inputs.gate }}"}"""
GATES = {"own": OWN, "command": DECLARED, "script": SCRIPT}
SOME_GATES = ("own", "command", pytest.param("script", marks=pytest.mark.long))
DOOR = """\
#!/bin/sh
[ ! -e '{host}/shut' ] || {{ echo 'nobody comes in' >&2; exit 1; }}
exec /bin/sh "$@"
"""


class World:
    """A person's folder, and this machine as a host with a door."""

    def __init__(self, base: Path, gate: str) -> None:
        self.base, self.host = base, base / "host"
        self.said = ""
        (self.host / "tree").mkdir(parents=True)
        (self.host / "door").write_text(DOOR.format(host=self.host))
        (self.host / "door").chmod(0o755)
        (base / "plan.yaml").write_text(PLAN.replace("GATE", GATES[gate]))
        (base / "hosts").write_text(f"localhost ansible_connection=local ultraplan_state_dir={self.host}/state "
                                    f"ansible_shell_executable={self.host}/door\n")

    def window(self, seconds: int) -> None:
        """How long the gate waits for its confirmation."""
        plan = self.base / "plan.yaml"
        plan.write_text(plan.read_text().replace(f"confirm: {WINDOW}s", f"confirm: {seconds}s"))

    def run(self, *words: str, fault: str = "") -> int:
        """The program's exit code; a negative number is the signal that ended it."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ULTRAPLAN_STATE": str(self.base / "state"),
                       "ULTRAPLAN_FAULT": fault}
        done = subprocess.run([*PROGRAM, *words], cwd=self.base, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=90, check=False)
        self.said = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode

    def apply(self, *more: str, good: bool, fault: str = "") -> int:
        return self.run("apply", "plan.yaml", "-i", "hosts", "--yes", "-e", f"host={self.host}",
                        "-e", f"gate={'open' if good else 'shut'}", *more, fault=fault)

    def there(self) -> list[str]:
        """What the plan's steps have made and is there."""
        return [name for name in ("tree/first", "open", "shut") if (self.host / name).exists()]

    def log(self, name: str) -> dict[str, int]:
        """How often a command and its undo happened."""
        path = self.host / name
        return dict(Counter(path.read_text().split())) if path.exists() else {}

    def events(self) -> list[dict[str, Any]]:
        """The journal of the one run."""
        with sqlite3.connect(self.base / "state" / "journal.db") as journal:
            return [json.loads(row[0]) for row in journal.execute("SELECT payload FROM records ORDER BY seq")]

    def armed(self) -> list[Path]:
        """What is armed on the host."""
        state = self.host / "state"
        return [*state.glob("armed.*"), *state.glob("runs/*/*.armed")]


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path, getattr(request, "param", "own"))
    yield made
    for process in timers(tmp_path):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("world", SOME_GATES, indirect=True)
def test_what_lets_new_connections_in_is_confirmed_and_stays(world: World) -> None:
    assert world.apply(good=True) == 0, world.said
    assert world.there() == ["tree/first", "open"]
    assert (world.armed(), timers(world.host)) == ([], [])
    intent = next(one for one in world.events() if one["type"] == "intent" and one["node"] == "gate")
    assert intent["confirm"] == WINDOW
    assert "armed: undone by the host itself unless confirmed within 2s" in world.said
    assert world.run("rollback", "--yes") == 0, world.said
    assert world.there() == []
    assert world.log("gates") in ({}, {"did": 1, "undid": 1})
    time.sleep(OVER)
    assert world.log("gates") in ({}, {"did": 1, "undid": 1})


@pytest.mark.parametrize("world", SOME_GATES, indirect=True)
def test_what_keeps_new_connections_out_is_undone_by_the_host_and_the_rest_by_the_run(world: World) -> None:
    assert world.apply(good=False) == 1, world.said
    assert "not confirmed over a new connection within 2s; the host has undone it by itself" in world.said
    assert world.there() == []
    assert world.log("gates") in ({}, {"did": 1, "undid": 1})
    assert world.log("last") == {}
    assert (world.armed(), timers(world.host)) == ([], [])
    outcome = next(one for one in world.events() if one["type"] == "outcome" and one["node"] == "gate")
    assert (outcome["ok"], outcome["undone"]) == (False, True)
    assert world.events()[-1]["status"] == "rolled_back"


@pytest.mark.parametrize("world", ["own", "command"], indirect=True)
@pytest.mark.long
def test_a_later_failure_undoes_what_was_confirmed(world: World) -> None:
    assert world.apply("-e", "code=3", good=True) == 1, world.said
    assert world.there() == []
    assert world.log("gates") in ({}, {"did": 1, "undid": 1})
    assert world.log("last") == {"did": 1, "undid": 1}


@pytest.mark.long
def test_what_was_not_confirmed_is_not_tried_again(world: World) -> None:
    plan = world.base / "plan.yaml"
    plan.write_text(plan.read_text().replace("confirm: 2s", "confirm: 2s\n    retries: 3\n    delay: 1s"))
    assert world.apply(good=False) == 1, world.said
    assert [one["attempt"] for one in world.events() if one["type"] == "intent" and one["node"] == "gate"] == [1]


@pytest.mark.parametrize("world", ["command"], indirect=True)
def test_an_effect_that_fails_is_tried_again_armed_each_time_and_never_undone_meanwhile(world: World) -> None:
    plan = world.base / "plan.yaml"
    failing = ('command: {run: "echo did >>{{ inputs.host }}/gates; '
               '[ $(wc -l <{{ inputs.host }}/gates) = 3 ]"}')
    text = plan.read_text().replace(DECLARED.split("\n")[0], failing)
    plan.write_text(text.replace("confirm: 2s", "confirm: 2s\n    retries: 3\n    delay: 1500ms"))
    assert world.apply(good=True) == 0, world.said
    assert world.log("gates") == {"did": 3}
    time.sleep(OVER)
    assert world.log("gates") == {"did": 3}
    assert (world.armed(), timers(world.host)) == ([], [])


@pytest.mark.parametrize("world", ["command"], indirect=True)
def test_a_host_without_setsid_begins_nothing(world: World) -> None:
    tools = world.host / "tools"
    tools.mkdir()
    for program in (*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()):
        if program.name != "setsid" and not (tools / program.name).exists():
            (tools / program.name).symlink_to(program)
    (world.host / "door").write_text(f"#!/bin/sh\nPATH={tools}\nexport PATH\nexec /bin/sh \"$@\"\n")
    assert world.apply(good=True) == 1, world.said
    assert "this host has no setsid, which confirm needs" in world.said
    assert (world.there(), world.log("gates")) == ([], {})


@pytest.mark.parametrize("world", ["command"], indirect=True)
@pytest.mark.long
def test_what_the_host_has_undone_is_not_undone_again_after_a_try_that_never_began(world: World) -> None:
    plan = world.base / "plan.yaml"
    plan.write_text(plan.read_text().replace("confirm: 2s", "confirm: 2s\n    on_failure: stop"))
    assert world.apply(good=False) != 0, world.said
    assert world.log("gates") == {"did": 1, "undid": 1}
    assert world.run("resume", fault="before-arm@gate") == -signal.SIGKILL, world.said
    assert world.run("rollback", "--yes") == 0, world.said
    assert world.log("gates") == {"did": 1, "undid": 1}
    assert world.there() == []


@pytest.mark.parametrize("world", ["command"], indirect=True)
def test_a_secret_of_the_undo_is_for_nobody_to_see_while_it_waits_and_gone_afterwards(world: World) -> None:
    (world.base / "token").write_text("correct horse")
    plan = world.base / "plan.yaml"
    secret = "environment: {TOKEN: {secret: file:token}}"
    plan.write_text(plan.read_text().replace("confirm: 2s", f"confirm: 2s\n    {secret}"))
    world.window(AMPLE)
    assert world.apply(good=True, fault="before-disarm@gate") == -signal.SIGKILL, world.said
    holding = [path for path in world.armed() if b"correct horse" in path.read_bytes()]
    assert [(path.suffix, path.stat().st_mode & 0o777) for path in holding] == [(".armed", 0o600)]
    for process in timers(world.host):
        for shown in ("cmdline", "environ"):
            assert b"correct horse" not in Path(f"/proc/{process}/{shown}").read_bytes()
    assert world.run("rollback", "--yes") == 0, world.said
    assert world.log("gates") == {"did": 1, "undid": 1}
    found = [path for path in world.base.rglob("*") if path.is_file() and b"correct horse" in path.read_bytes()]
    assert found == [world.base / "token"]


# -- killed -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """SIGKILL at ``point`` of the armed step, then ``verb``: at once, or (``late``) when the time is over."""

    point: str
    verb: str
    good: bool
    late: bool

    def __str__(self) -> str:
        when = "late" if self.late else "soon"
        return f"{self.point}, {self.verb} {when}, {'good' if self.good else 'bad'}"

    @property
    def succeeds(self) -> bool:
        """Whether the run comes to its end: it is gone on with, and the change is confirmed in time, or made anew."""
        fired = self.late and self.point in ("after-effect", "before-disarm")
        return self.verb == "resume" and self.good and not fired


KILLS = [Kill(*one) for one in product(
    ("after-intent", "before-arm", "after-arm", "after-effect", "before-disarm", "after-disarm"),
    ("resume", "rollback"), (True, False), (False, True))]
SAMPLE = (Kill("after-arm", "resume", True, True), Kill("after-effect", "resume", True, False),
          Kill("before-disarm", "resume", True, True), Kill("after-disarm", "resume", True, False),
          Kill("before-arm", "rollback", True, False), Kill("after-effect", "rollback", False, True))


def _cells() -> Iterator[Any]:
    for number, (kill, gate) in enumerate(product(KILLS, ("own", "command"))):
        sampled = kill in SAMPLE and gate == ("own", "command")[SAMPLE.index(kill) % 2]
        yield pytest.param(gate, kill, id=f"{number}: {kill}, {gate}", marks=[] if sampled else pytest.mark.long)


@pytest.mark.parametrize(("world", "kill"), list(_cells()), indirect=["world"])
def test_killed_around_the_arming_it_ends_confirmed_or_undone_once(world: World, kill: Kill) -> None:
    if kill.good and not kill.late:
        world.window(AMPLE)
    # (With a bad change nobody gets to the points after the effect before the host has undone it.)
    assert world.apply(good=kill.good, fault=f"{kill.point}@gate") == -signal.SIGKILL, world.said
    if kill.late:
        time.sleep(OVER)
        assert (world.armed(), timers(world.host)) == ([], []), "the timer has to be gone"
    code = world.run("resume") if kill.verb == "resume" else world.run("rollback", "--yes")
    if kill.succeeds:
        assert code == 0, world.said
        assert world.there() == ["tree/first", "open"]
        assert world.log("gates") in ({}, {"did": 1})
        assert world.log("last") == {"did": 1}
    else:
        assert code == (0 if kill.verb == "rollback" else 1), world.said
        assert world.there() == []
        assert world.log("gates") in ({}, {"did": 1, "undid": 1})
        assert world.log("last") == {}
    until(lambda: (world.armed(), timers(world.host)) == ([], []), 2)


@pytest.mark.parametrize("world", ["own", "command"], indirect=True)
@pytest.mark.parametrize("second", ["during-recovery", "before-disarm", "after-disarm", "before-reverse-intent"])
@pytest.mark.parametrize("verb", ["resume", "rollback"])
@pytest.mark.long
def test_killed_again_while_it_finds_out_what_became_of_it(world: World, second: str, verb: str) -> None:
    words = (verb,) if verb == "resume" else (verb, "--yes")
    world.window(AMPLE)
    assert world.apply(good=True, fault="after-effect@gate") == -signal.SIGKILL, world.said
    code = world.run(*words, fault=f"{second}@gate" if second != "during-recovery" else second)
    if code == -signal.SIGKILL:
        code = world.run(*words)
    assert code == 0, world.said
    assert world.there() == (["tree/first", "open"] if verb == "resume" else [])
    assert world.log("gates") in ({}, {"did": 1} if verb == "resume" else {"did": 1, "undid": 1})
    assert (world.armed(), timers(world.host)) == ([], [])


@pytest.mark.parametrize("verb", ["resume", "rollback"])
@pytest.mark.parametrize("world", ["command"], indirect=True)
@pytest.mark.long
def test_who_goes_on_while_everybody_is_locked_out_waits_until_the_host_has_undone_it(world: World, verb: str) -> None:
    world.window(40)
    (world.base / "ultraplan.yaml").write_text("reconnect: 2s\n")
    host = ("-e", f"host={world.host}", "-e", "gate=shut")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ULTRAPLAN_STATE": str(world.base / "state")}
    process = subprocess.Popen([*PROGRAM, "apply", "plan.yaml", "-i", "hosts", "--yes", *host], cwd=world.base,
                               env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    until(lambda: world.log("gates") == {"did": 1}, 60)
    process.kill()
    process.communicate()
    assert world.log("gates") == {"did": 1}
    code = world.run("resume") if verb == "resume" else world.run("rollback", "--yes")
    assert code == (1 if verb == "resume" else 0), world.said
    assert (world.there(), world.log("gates")) == ([], {"did": 1, "undid": 1})


@pytest.mark.parametrize("world", ["own", "command"], indirect=True)
@pytest.mark.long
def test_a_reboot_before_the_confirmation_is_not_one(world: World) -> None:
    """The host forgets its timer, and has another boot identity: as the armed state says, not this machine's."""
    world.window(AMPLE)
    assert world.apply(good=True, fault="after-effect@gate") == -signal.SIGKILL, world.said
    marker, = (world.host / "state").glob("armed.*")
    of, _, timer, *rest = marker.read_text().split()
    os.kill(int(timer), signal.SIGKILL)
    marker.write_text(" ".join((of, "the-boot-before", timer, *rest)) + "\n")
    assert world.run("resume") == 1, world.said
    assert "localhost was rebooted before anybody confirmed it" in world.said
    assert world.there() == []
    assert world.log("gates") in ({}, {"did": 1, "undid": 1})
    assert world.armed() == []
