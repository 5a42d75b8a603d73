"""The conductor's table of cases (tests/engine/conduct/*.yaml): a plan, and a script of what happens and what it means.

A line of a script is something that happens, or what is asked:

    ok STEP HOST          it is done and verified            same STEP HOST      nothing had to be done
    fail STEP HOST        its effect failed, for good        away STEP HOST      its host cannot be reached
    begin STEP HOST       its effect is under way            end / miss / lost   … ended well / badly / nobody knows how
    intent STEP HOST      the next attempt begins            answered STEP HOST    … ended well, not verified yet
    skip STEP HOST        its condition does not hold        give up STEP HOST   … and is failed without an answer
    abandon STEP HOST     its worker stopped before the (next) effect
    undo / undo-fail / undo-doubt STEP HOST                  the same of its way back
    done / not-done STEP HOST                                a person resolves it
    skips                 everything that is needless is skipped, until nothing is
    resume / rollback / crash                                somebody goes on with the run; a new process replays it
    stop                  Ctrl-C: the run is closed as interrupted

    ready: …              what may start: `a@web1`, `skip a@web1`, `undo a@web1`, `leave a@web1` (nothing to undo)
    decide: …             what is decided, which then is so: `rollback run`, `rollback host web1`, `succeeded`, …
    refused: EVENT        the event would be a mistake of the program
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.graph.world import compile_text
from ultraplan.engine.conduct import Conductor, Run
from ultraplan.engine.shape import Shape, ShapeNode, shape_of
from ultraplan.engine.states import ProtocolError
from ultraplan.engine.unwind import NO_WAY_BACK
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    InDoubt,
    Intent,
    Outcome,
    Prepared,
    Record,
    Resolved,
    RollbackDecided,
    RunClosed,
    Skipped,
    Started,
    TakenOver,
    Unchanged,
    Verified,
)

CASES = [pytest.param(case, id=f"{file.stem}: {case['name']}")
         for file in sorted((Path(__file__).parent / "conduct").glob("*.yaml"))
         for case in yaml.safe_load(file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("case", CASES)
def test_the_conductor_does_as_its_case_says(case: dict[str, Any]) -> None:
    play = _Play(case["plan"])
    for number, line in enumerate(case["script"], 1):
        if isinstance(line, str):
            play.happens(line)
            continue
        (question, wanted), = line.items()
        if question == "refused":
            with pytest.raises(ProtocolError):
                play.happens(wanted)
            continue
        found = play.ready() if question == "ready" else play.decide()
        assert found == (wanted or "nothing"), f"line {number} of the script: {question}"


def test_a_step_for_some_hosts_is_everybodys_failure_when_they_are_all_lost() -> None:
    """An include may be for some of the plan's hosts."""
    everyone, some = ("h1", "h2", "h3", "h4"), ("h1", "h2")
    shape = Shape({"a": ShapeNode("a", everyone, ()), "part": ShapeNode("part", some, ("a",)),
                   "c": ShapeNode("c", everyone, ("part",))}, (everyone,), max_fail_percentage=75)
    conductor = Conductor(shape)
    for host, scope in (("h1", "host"), ("h2", "run")):
        about: dict[str, Any] = {"op": "", "node": "a", "host": host}
        conductor.record(Started(**about), 1)
        conductor.record(Failed(**about, error="no", effect=False), 2)
        decided = conductor.decide()
        assert isinstance(decided, RollbackDecided)
        assert decided.scope == scope
        conductor.record(decided, 3)


class _Play:
    """A conductor and its journal, driven by the lines of a script."""

    def __init__(self, text: str) -> None:
        self._graph = compile_text(text)
        self._shape = shape_of(self._graph)
        self.conductor = Conductor(self._shape)
        self._journal: list[AnyEvent] = []

    def happens(self, line: str) -> None:
        """One line of what happens."""
        match line.split():
            case ["resume" | "rollback" as verb]:
                self._record(TakenOver(epoch=2, verb=verb))
                if verb == "rollback" and self.conductor.going_back is None:
                    self._record(RollbackDecided(scope="run", cause="asked for"))
            case ["crash"]:
                self.conductor = Conductor(self._shape)
                self.conductor.replay(Record(seq, 0.0, event) for seq, event in enumerate(self._journal, 1))
            case ["stop"]:
                self._record(RunClosed(status="interrupted"))
            case ["skips"]:
                while skips := [one for one in self.conductor.ready() if not isinstance(one, Run)]:
                    for one in skips:
                        self._record(Skipped(op="", node=one.node, host=one.host, why=one.why,
                                             direction=one.direction))  # type: ignore[arg-type]
            case ["abandon", node, host]:
                self.conductor.abandon((node, host), "forward")
            case [*words, node, host]:
                for event in self._events(" ".join(words), node, host):
                    self._record(event)
            case _:
                raise ValueError(line)

    def _record(self, event: AnyEvent) -> None:
        self.conductor.record(event, len(self._journal) + 1)
        self._journal.append(event)

    def _events(self, what: str, node: str, host: str) -> list[AnyEvent]:
        forward: dict[str, Any] = {"op": "", "node": node, "host": host}
        reverse: dict[str, Any] = {**forward, "direction": "reverse"}
        lost = self._graph.nodes[node].step.irreversible is not None
        begin: list[AnyEvent] = [
            Started(**forward),
            Prepared(**forward, way_back=NO_WAY_BACK if lost else "reversible", reverse=None if lost else {}),
            Intent(**forward, attempt=1, epoch=1)]
        back: list[AnyEvent] = [Started(**reverse), Intent(**reverse, attempt=1, epoch=1)]
        good, bad = Outcome(**forward, ok=True, attempt=1), Outcome(**forward, ok=False, attempt=1)
        failed = Failed(**forward, error="it failed")
        direction = "reverse" if ((node, host), "reverse") in self.conductor.in_doubt() else "forward"
        events: dict[str, list[AnyEvent]] = {
            "ok": [*begin, good, Verified(**forward)], "same": [Started(**forward), Unchanged(**forward)],
            "begin": begin, "intent": [Intent(**forward, attempt=2, epoch=1)], "end": [good, Verified(**forward)],
            "answered": [good], "miss": [bad], "lost": [InDoubt(**forward, why="died")], "give up": [failed],
            "fail": [*begin, bad, failed], "skip": [Skipped(**forward, why="when")],
            "away": [Started(**forward), Failed(**forward, error="away", effect=False, unreachable=True)],
            "undo": [*back, Outcome(**reverse, ok=True, attempt=1), Verified(**reverse)],
            "undo-begin": back,
            "undo-fail": [*back, Outcome(**reverse, ok=False, attempt=1), Failed(**reverse, error="undo failed")],
            "undo-lost": [*back, Failed(**reverse, error="away", unreachable=True)],
            "undo-doubt": [Started(**reverse), InDoubt(**reverse, why="was it done?")],
            "irreversible": [Started(**reverse), Failed(**reverse, error="irreversible", effect=False)],
            "done": [Resolved(**{**forward, "direction": direction}, done=True)],
            "not-done": [Resolved(**{**forward, "direction": direction}, done=False)],
        }
        return events[what]

    def ready(self) -> str:
        """What may start, in words."""
        words = {(True, "forward"): "", (True, "reverse"): "undo ", (False, "forward"): "skip ",
                 (False, "reverse"): "leave "}
        return " ".join(sorted(f"{words[isinstance(one, Run), one.direction]}{one.node}@{one.host}".replace(" ", "_")
                               for one in self.conductor.ready())).replace("_", " ") or "nothing"

    def decide(self) -> str:
        """What is decided, in words; it then is so."""
        decision = self.conductor.decide()
        if decision is None:
            return "nothing"
        self._record(decision)
        if isinstance(decision, RollbackDecided):
            return f"rollback {decision.scope} {' '.join(decision.hosts or ())}".strip()
        assert isinstance(decision, RunClosed)
        return decision.status + "".join(f" | {line}" for line in decision.residue)
