"""What can be typed next, for every way in which a run can end: the table, and that what it says is true."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.program import Program
from ultraplan.cli.failures import STATUS_CODES
from ultraplan.cli.views.nexts import Standing, next_commands
from ultraplan.journal.events import Left

DOUBT = [{"step": "migrate", "host": "db 1"}]


def _left(*kinds: str) -> list[Left]:
    return [Left(node=f"s{number}", host="web", kind=kind, why="…") for number, kind in enumerate(kinds, 1)]


CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("succeeded", {"status": "succeeded"}, ["ultraplan rollback RUN   (undoes it)"]),
    ("rolled back", {"status": "rolled_back"}, ["nothing: what was done is undone (ultraplan apply does it anew)"]),
    ("under way", {"status": "open", "alive": True}, ["ultraplan runs follow RUN"]),
    ("killed", {"status": "open", "alive": False},
     ["ultraplan resume RUN   (goes on)", "ultraplan rollback RUN   (undoes what was done)"]),
    ("killed on its way back", {"status": "open", "alive": False, "back": True},
     ["ultraplan resume RUN   (goes on with the rollback)"]),
    ("interrupted", {"status": "interrupted"},
     ["ultraplan resume RUN   (goes on)", "ultraplan rollback RUN   (undoes what was done)"]),
    ("interrupted on its way back", {"status": "interrupted", "back": True},
     ["ultraplan resume RUN   (goes on with the rollback)"]),
    ("paused in doubt", {"status": "paused", "in_doubt": DOUBT},
     ["ultraplan resolve RUN 'migrate@db 1' --as done   (or not-done: look at the host first)",
      "ultraplan resume RUN   (goes on)", "ultraplan rollback RUN   (undoes what was done)"]),
    ("paused past the point of no return", {"status": "paused"},
     ["ultraplan resume RUN   (tries again what failed; put its cause right first)",
      "ultraplan rollback RUN   (undoes what can be undone)"]),
    ("failed, and stopped as the plan says", {"status": "failed"},
     ["ultraplan resume RUN   (tries again what failed)", "ultraplan rollback RUN   (undoes what was done)"]),
    ("failed, its hosts rolled back", {"status": "failed", "final": "they were rolled back"},
     ["ultraplan rollback RUN   (undoes what still stands)",
      "ultraplan apply …   (the same plan anew; what is as wanted is left alone)"]),
    ("all that can be undone is", {"status": "rolled_back_in_part", "left": _left("irreversible", "irreversible")},
     ["nothing: what could be undone is undone, the rest is irreversible by the plan's word"]),
    ("an undo failed", {"status": "rollback_incomplete", "left": _left("failed", "behind")},
     ["ultraplan resume RUN   (tries again what could not be undone)",
      "ultraplan resolve RUN s1@web --as undone   (where a person put it right by hand; then resume)"]),
    ("somebody changed it", {"status": "rollback_incomplete", "left": _left("conflict")},
     ["ultraplan resume RUN   (once s1 on web is again as the run left it, or as before the run)",
      "ultraplan resolve RUN s1@web --as undone   (where a person put it right by hand; then resume)"]),
    ("somebody removed the pre-image", {"status": "rollback_incomplete", "left": _left("gone", "behind")},
     ["ultraplan resume RUN   (then goes on with the rest)",
      "ultraplan resolve RUN s1@web --as undone   (where a person put it right by hand; then resume)"]),
    ("a host is away", {"status": "rollback_incomplete", "left": _left("unreachable", "behind", "irreversible")},
     ["ultraplan resume RUN   (once web can be reached)"]),
    ("an undo is in doubt", {"status": "rollback_incomplete", "left": _left("doubt"),
                             "in_doubt": [{"step": "s1", "host": "web"}]},
     ["ultraplan resolve RUN s1@web --as done   (or not-done: look at the host first)",
      "ultraplan resume RUN   (then goes on with the rest)"]),
    ("an old journal does not say what is left", {"status": "rollback_incomplete"},
     ["ultraplan resume RUN   (tries again what could not be undone)"]),
]


@pytest.mark.parametrize(("standing", "wanted"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_what_to_type_next(standing: dict[str, Any], wanted: list[str]) -> None:
    assert next_commands(Standing(run="RUN", **standing)) == wanted


def test_every_ending_is_in_the_table() -> None:
    assert {case[1]["status"] for case in CASES} == {*STATUS_CODES, "open"}


def test_somebody_who_was_not_there_is_sent_to_the_whole_story_first() -> None:
    for status in ("failed", "rolled_back", "rolled_back_in_part", "paused", "interrupted"):
        assert next_commands(Standing(run="RUN", status=status, seen=False))[0] == "ultraplan runs show RUN"


def test_many_operations_are_counted() -> None:
    told = next_commands(Standing(run="RUN", status="rollback_incomplete", left=_left(*["failed"] * 9)))
    assert len(told) == 7
    assert told[-1] == "… and 4 more like it (ultraplan runs show names them)"


# -- and it is true -------------------------------------------------------------------------------------------------

FILES = """
- {id: below, file: {path: "{{ host.vars.root }}/below", content: x}}
- {id: config, file: {path: "{{ host.vars.root }}/config", content: one}}
"""


def test_what_a_person_put_right_by_hand_counts_as_undone_and_the_rest_follows(up: Program) -> None:
    up("apply", up.plan(FILES), "--yes")
    home = up.root / "localhost"
    (home / "config").write_text("somebody else's")
    done = up("rollback", "--yes", code=4).stdout
    run = up.last()
    assert "before the run  left by the run" in done
    assert f"ultraplan resolve {run} config@localhost --as undone" in done
    up("resume", code=4)  # nothing has changed
    assert (home / "below").exists()
    assert "that could not be undone: " in up("resolve", run, "below@localhost", "--as", "undone", code=2).stderr
    assert f"ultraplan resume {run}" in up("resolve", run, "config@localhost", "--as", "undone").stdout
    told = up("resume", code=1).stdout
    assert "rolled back: " in told
    assert "undone on localhost: config, below" in told
    assert (home / "config").read_text() == "somebody else's"  # that was a person's word
    assert not (home / "below").exists()


def test_past_an_irreversible_step_all_that_can_be_is_undone_and_no_command_is_made_up(up: Program) -> None:
    plan = up.plan(f"{FILES}- {{id: mail, command: {{run: 'true'}}, irreversible: mail was sent}}\n"
                   '- {id: later, file: {path: "{{ host.vars.root }}/later", content: x}}')
    up("apply", plan, "--yes")
    told = up.ndjson("rollback", "--yes", code=4)[-1]
    assert told["status"] == "rolled_back_in_part"
    assert told["undone"] == {"localhost": ["later"]}
    assert [(one["step"], one["kind"]) for one in told["left"]] == [
        ("below", "irreversible"), ("config", "irreversible"), ("mail", "irreversible")]
    assert told["next"] == ["nothing: what could be undone is undone, the rest is irreversible by the plan's word"]
    for verb in (["resume"], ["rollback", "--yes"]):
        assert "as far as there is a way back" in up(*verb, code=2).stderr
    up("resolve", "last", "mail@localhost", "--as", "undone")  # a person took it back
    assert up.ndjson("resume", code=1)[-1]["status"] == "rolled_back"
    assert not (up.root / "localhost" / "below").exists()


def test_a_stopped_run_is_resumed(two: Program) -> None:
    plan = two.plan(f"{FILES}- {{id: broken, command: {{run: 'test -e {two.root}/fixed'}}, reads_only: true, "
                    "on_failure: stop}")
    done = two("apply", plan, "--yes", code=1).stdout
    assert f"ultraplan resume {two.last()}   (tries again what failed)" in done
    two("resume", code=1)
    (two.root / "fixed").touch()
    two("resume")
