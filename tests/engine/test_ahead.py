"""Operations of one host that follow each other are sent together: what is durable when, and what becomes of the rest
where one of them fails, is changed by another, is called off, or where somebody dies in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engine.here import Here
from ultraplan.engine.conduct import Conductor
from ultraplan.engine.run import Run
from ultraplan.engine.runs import Watch, apply, preview, resume, rollback
from ultraplan.engine.settings import find_settings
from ultraplan.engine.shape import Shape, ShapeNode
from ultraplan.journal.events import Event, Intent, OpEvent, Outcome, Prepared, RunClosed, Started, Verified
from ultraplan.journal.sqlite import SQLiteStore

REPOSITORY = Path(__file__).parents[2]


def did(name: str, then: str = "") -> str:
    """A step that leaves a line in a log each time it is done or undone."""
    return (f"  - id: {name}\n    command: {{run: \"echo did >>HERE/log.{name}; {then}\"}}\n"
            f"    undo: {{command: {{run: \"echo undid >>HERE/log.{name}\"}}}}\n")


class World:
    """A plan's run on this machine, its journal, and what its steps logged."""

    def __init__(self, folder: Path, hosts: str = "localhost") -> None:
        self.folder, self.here = folder, Here(folder, hosts)
        self.store = SQLiteStore(folder / "journal.db")
        self.run_id = ""
        self.runs: list[Run] = []

    def apply(self, steps: str, head: str = "") -> RunClosed:
        with self.here.job(steps, head) as job:
            self.run_id = job.name.id
            return apply(job, preview(job), self.store, Watch(started=self.runs.append))

    def go_on(self, verb: str) -> RunClosed:
        settings = find_settings(self.folder, {"HOME": str(self.folder)}, str(self.folder / "state"))
        return (resume if verb == "resume" else rollback)(self.run_id, settings, self.store, Watch())

    def events(self, *kinds: type[Event]) -> list[tuple[str, str]]:
        """The journal: what happened to which step, forward."""
        return [(type(record.event).__name__, record.event.node) for record in self.store.read(self.run_id)
                if isinstance(record.event, kinds or OpEvent) and getattr(record.event, "direction", "") == "forward"]

    def log(self, name: str) -> list[str]:
        path = self.folder / f"log.{name}"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


FILES = "".join(f"  - id: f{n}\n    file: {{path: HERE/f{n}, content: \"{n}\", mode: \"0640\"}}\n" for n in (1, 2, 3))


def test_all_intents_are_durable_before_the_first_outcome_and_outcomes_follow_in_order(world: World) -> None:
    assert world.apply(FILES + did("c")).status == "succeeded"
    names = ["f1", "f2", "f3", "c"]
    assert world.events(Intent, Outcome, Verified) == (
        [("Intent", name) for name in names]
        + [(kind, name) for name in names for kind in ("Outcome", "Verified")])
    assert (world.folder / "f2").read_text() == "2"
    assert world.log("c") == ["did"]


def test_they_share_two_commits(world: World) -> None:
    before = world.store.commits
    assert world.apply(FILES).status == "succeeded"
    opening_and_closing = 6  # lock, bundle, RUN_OPENED, RUN_CLOSED, release, and a renewal that may fall in between
    assert world.store.commits - before <= opening_and_closing + 2


def test_what_comes_after_a_failure_never_begins_and_only_what_ran_is_undone(world: World) -> None:
    closed = world.apply(did("a") + did("b", "exit 3") + did("c") + FILES)
    assert closed.status == "rolled_back"
    assert [world.log(name) for name in "abc"] == [["did", "undid"], ["did", "undid"], []]
    assert not (world.folder / "f1").exists()
    began = {record.event.node: record.event.began for record in world.store.read(world.run_id)
             if isinstance(record.event, Outcome) and record.event.direction == "forward"}
    assert began == {"a": True, "b": True, "c": False, "f1": False, "f2": False, "f3": False}


def test_a_file_that_an_earlier_command_changes_is_looked_at_again_before_it_is_replaced(world: World) -> None:
    (world.folder / "f1").write_text("old")
    closed = world.apply(did("a", "echo by a command >HERE/f1") + FILES + did("z", "exit 1"))
    assert closed.status == "rolled_back"
    assert (world.folder / "f1").read_text() == "by a command\n", "the pre-image is what the command left"
    assert world.log("a") == ["did", "undid"]


def test_what_had_to_be_looked_at_again_goes_together_from_there(world: World) -> None:
    (world.folder / "f1").write_text("old")
    assert world.apply(did("a", "echo by a command >HERE/f1") + FILES + did("z")).status == "succeeded"
    assert [world.log(name) for name in "az"] == [["did"], ["did"]]
    order = world.events(Intent, Verified)
    assert order[:6] == [("Intent", name) for name in ("a", "f1", "f2", "f3", "z")] + [("Verified", "a")]
    assert order[6:] == ([("Intent", name) for name in ("f1", "f2", "f3", "z")]
                     + [("Verified", name) for name in ("f1", "f2", "f3", "z")])


def test_a_file_that_a_command_leaves_alone_is_sent_with_it(world: World) -> None:
    world.apply(did("a") + FILES)
    assert world.events(Intent) == [("Intent", name) for name in ("a", "f1", "f2", "f3")]
    assert len(world.events(Prepared)) == 4


def test_a_step_that_uses_a_result_waits_for_it(world: World) -> None:
    later = "  - id: late\n    file: {path: HERE/late, content: \"{{ steps.a.outputs.exit }}\"}\n"
    assert world.apply(did("a") + did("b") + later).status == "succeeded"
    order = world.events(Intent, Verified)
    assert order.index(("Verified", "b")) < order.index(("Intent", "late"))
    assert (world.folder / "late").read_text() == "0"


def test_a_step_with_nothing_to_do_is_passed_in_its_turn(world: World) -> None:
    (world.folder / "f2").write_text("2")
    (world.folder / "f2").chmod(0o640)
    assert world.apply(did("a") + FILES).status == "succeeded"
    assert [what for what in world.events() if what[1] == "f2"][-1] == ("Unchanged", "f2")
    order = world.events()
    assert order.index(("Verified", "f1")) < order.index(("Unchanged", "f2")) < order.index(("Verified", "f3"))


def test_with_several_hosts_and_a_barrier_nothing_is_sent_ahead(tmp_path: Path) -> None:
    world = World(tmp_path, "one two")
    for host in ("one", "two"):
        (tmp_path / host).mkdir()
    steps = "".join(f"  - id: {name}\n    file: {{path: \"HERE/{{{{ host.name }}}}/{name}\", content: x}}\n"
                    for name in "ab")
    assert world.apply(steps).status == "succeeded"
    order = [(type(record.event).__name__, record.event.node) for record in world.store.read(world.run_id)
             if isinstance(record.event, Intent | Verified)]
    assert max(index for index, what in enumerate(order) if what == ("Verified", "a")) < order.index(("Intent", "b"))


def test_a_person_who_stops_the_run_waits_for_what_runs_and_for_nothing_more(world: World) -> None:
    steps = did("a", "sleep 2") + did("b") + did("c")

    def stop() -> None:
        until = time.monotonic() + 20
        while not world.log("a") and time.monotonic() < until:
            time.sleep(0.05)
        world.runs[0].stopping.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    closed = world.apply(steps)
    stopper.join()
    assert closed.status == "interrupted"
    assert [world.log(name) for name in "abc"] == [["did"], [], []]
    assert world.go_on("resume").status == "succeeded"
    assert [world.log(name) for name in "abc"] == [["did"]] * 3


@pytest.mark.parametrize("verb", ["resume", "rollback"])
@pytest.mark.parametrize("point", ["after-intent@c", "after-effect@a", "after-effect@b", "before-verified@a"])
def test_killed_in_the_middle_each_receipt_tells_what_became_of_its_step(tmp_path: Path, point: str, verb: str) -> None:
    Here(tmp_path)
    (tmp_path / "plan.yaml").write_text(
        f"plan: ahead\nsteps:\n{did('a')}{did('b')}{did('c')}{FILES}".replace("HERE", str(tmp_path)))
    assert _program(tmp_path, point, "apply", "plan.yaml", "-i", "hosts", "--yes") == -signal.SIGKILL
    assert _program(tmp_path, "", verb, *(["--yes"] if verb == "rollback" else [])) == 0
    wanted = [{"did": 1}] if verb == "resume" else [{}, {"did": 1, "undid": 1}]
    for name in "abc":
        path = tmp_path / f"log.{name}"
        assert dict(Counter(path.read_text().split()) if path.exists() else {}) in wanted, name
    assert (tmp_path / "f3").exists() == (verb == "resume")


def test_the_shell_killed_in_the_middle_nothing_is_done_twice_or_forgotten(world: World) -> None:
    # The command's parent is the wrapper, whose parent is the program's own shell, whose parent reads the programs.
    kill = ("read -r _ _ _ p _ </proc/$PPID/stat; read -r _ _ _ q _ </proc/$p/stat; "
            "[ -e HERE/once ] || { touch HERE/once; kill -KILL $q; }")
    assert world.apply(did("a") + did("b", kill) + did("c") + FILES).status == "succeeded"
    assert [world.log(name) for name in "abc"] == [["did"]] * 3
    assert (world.folder / "f3").read_text() == "3"


def _program(folder: Path, fault: str, *words: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ULTRAPLAN_STATE": str(folder / "state"),
                   "ULTRAPLAN_FAULT": fault}
    return subprocess.run([sys.executable, "-m", "ultraplan.cli.main", *words], cwd=folder, env=environment,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False).returncode


# -- what the conductor offers -------------------------------------------------------------------------------------

def _shape(hosts: Sequence[str], needs: dict[str, tuple[str, ...]], *, free: bool,
           **special: dict[str, object]) -> Shape:
    nodes = {}
    for name, before in needs.items():
        nodes[name] = ShapeNode(name, tuple(hosts), before, **special.get(name, {}))  # type: ignore[arg-type]
    return Shape(nodes, (tuple(hosts),), free=free)


LINE: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",), "c": ("b",)}


@pytest.mark.parametrize(("shape", "together"), [
    (_shape(["h"], LINE, free=False), "abc"),
    (_shape(["h", "i"], LINE, free=True), "abc"),
    (_shape(["h", "i"], LINE, free=False), "a"),
    (_shape(["h"], {**LINE, "c": ()}, free=False), "ab"),
    (_shape(["h"], {"a": (), "x": (), "b": ("a", "x")}, free=False), "a"),
    (_shape(["h"], {"a": (), "b": ("a",), "c": ("a", "b")}, free=False), "abc"),
    (_shape(["h"], LINE, free=False, b={"irreversible": True}), "a"),
    (_shape(["h"], LINE, free=False, b={"on_failure": "continue"}), "a"),
    (_shape(["h"], LINE, free=False, b={"single": True}), "a"),
], ids=str)
def test_only_what_waits_for_nothing_else_goes_together(shape: Shape, together: str) -> None:
    conductor = Conductor(shape)
    assert "".join(node for node, _ in conductor.ahead(("a", "h"), lambda node: True, 9)) == together


def test_what_was_sent_ahead_and_never_began_has_its_turn_after_what_comes_before_it() -> None:
    conductor = Conductor(_shape(["h"], LINE, free=False))
    about = [{"op": "", "node": node, "host": "h"} for node in "abc"]
    events = [event for one in about for event in (
        Started(**one), Prepared(**one, way_back="reversible", reverse={}), Intent(**one, attempt=1, epoch=1))]
    for number, event in enumerate(events, 1):
        conductor.record(event, number)
    for node in "abc":
        conductor.abandon((node, "h"), "forward")
    assert [action.node for action in conductor.ready()] == ["a"]
    conductor.record(Outcome(**about[0], ok=True, attempt=1), 10)
    conductor.record(Verified(**about[0]), 11)
    assert [action.node for action in conductor.ready()] == ["b"]
