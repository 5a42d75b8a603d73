"""`runs show` explains a run to somebody who was not there: on journals of every ending, made by the real program."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence

import pytest

from tests.cli.program import Program, interrupt, wait_for
from ultraplan.cli.views.story import story, story_text
from ultraplan.journal.events import (
    AnyEvent,
    Failed,
    Intent,
    Outcome,
    Prepared,
    Record,
    RollbackDecided,
    RunClosed,
    RunOpened,
    Started,
    TakenOver,
    Verified,
)

CONFIG = '- id: config\n  file: {path: "{{ host.vars.root }}/config", content: one}\n'
BROKEN = "- id: broken\n  command: {run: 'echo no room >&2; exit 3'}\n  reads_only: true\n"
MAIL = "- id: mail\n  command: {run: 'true'}\n  irreversible: mail was sent\n"
SLOW = """- id: slow
  command: {{run: "touch {began}; sleep 1.5"}}
  undo: {{command: {{run: "true"}}}}
"""


def _parts(text: str) -> dict[str, list[str]]:
    """The sections of the page, by their headings; the first has none."""
    found: dict[str, list[str]] = {}
    for part in text.rstrip("\n").split("\n\n"):
        head, *lines = part.split("\n")
        found["" if not found else head] = [head, *lines] if not found else [line.strip() for line in lines]
    return found


def _next(up: Program) -> list[str]:
    told = up.json("runs", "show")
    page = _parts(up("runs", "show").stdout)
    assert page["what to type next"] == told["next"]
    return [re.sub(r"   \(.*", "", line).replace(told["run"], "RUN") for line in told["next"]]


def test_succeeded(up: Program) -> None:
    up("apply", up.plan(CONFIG), "--yes")
    page = _parts(up("runs", "show").stdout)
    run = up.last()
    assert page[""][0] == f"run {run} of tried"
    assert re.fullmatch(r"opened [-\d]{10} [:\d]{8} UTC \(\d+ s ago\) by \w+ \(ultraplan [\d.]+\) on 1 host: localhost",
                        page[""][1])
    assert re.fullmatch(r"succeeded: 1 changed on 1 host; \d+ s at work", page[""][2])
    assert [re.sub(r"^\d\d:\d\d:\d\d +\+\d+ s  ", "", line) for line in page["what happened (UTC)"]] == [
        "run opened: tried on 1 host", "config on localhost: done", "closed: succeeded"]
    assert _next(up) == ["ultraplan rollback RUN"]


def test_rolled_back(up: Program) -> None:
    up("apply", up.plan(CONFIG + BROKEN), "--yes", code=1)
    page = _parts(up("runs", "show").stdout)
    assert page[""][3] == "cause: broken on localhost: exit code 3: no room"
    assert page["where it stands"] == ["undone on localhost: config"]
    assert up.json("runs", "show")["failed"] == [
        {"step": "broken", "host": "localhost", "error": "exit code 3: no room"}]
    assert _next(up)[0].startswith("nothing: ")


def test_rollback_incomplete(up: Program) -> None:
    up("apply", up.plan(CONFIG), "--yes")
    (up.root / "localhost" / "config").write_text("other")
    up("rollback", "--yes", code=4)
    page = _parts(up("runs", "show").stdout)
    assert page[""][2].startswith("rollback incomplete: 1 changed on 1 host; ")
    stands = page["where it stands"]
    assert stands[0].startswith("left as it is: config on localhost: changed since the run left it: ")
    assert stands[1].split() == ["before", "the", "run", "left", "by", "the", "run", "now"]
    assert stands[2].split()[:2] == ["sha256", "absent"] or stands[2].split()[:2] == ["size", "absent"]
    assert any("taken over: rollback by " in line for line in page["what happened (UTC)"])
    assert _next(up) == ["ultraplan resume RUN", "ultraplan resolve RUN config@localhost --as undone"]


def test_past_the_point_of_no_return_and_then_back_in_part(up: Program) -> None:
    up("apply", up.plan(CONFIG + MAIL + BROKEN), "--yes", code=5)
    page = _parts(up("runs", "show").stdout)
    assert page[""][3].endswith(
        "broken on localhost: exit code 3: no room; after mail on localhost there is no way back")
    assert _next(up) == ["ultraplan resume RUN", "ultraplan rollback RUN"]
    up("rollback", "--yes", code=4)
    page = _parts(up("runs", "show").stdout)
    assert page[""][2].startswith("rolled back in part: ")
    assert page["where it stands"] == [
        "left as it is: config on localhost: left alone, because mail after it could not be undone",
        "left as it is: mail on localhost: irreversible: mail was sent"]
    assert _next(up)[0].startswith("nothing: ")


def test_interrupted_and_then_taken_over(up: Program) -> None:
    began = up.root / "localhost" / "began"
    process = up.start("apply", up.plan(SLOW.format(began=began) + CONFIG), "--yes")
    wait_for(began)
    interrupt(process)
    process.communicate(timeout=60)
    assert _parts(up("runs", "show").stdout)[""][2].startswith("interrupted: 1 changed")
    assert _next(up) == ["ultraplan resume RUN", "ultraplan rollback RUN"]
    up("resume")
    page = _parts(up("runs", "show").stdout)
    happened = "\n".join(page["what happened (UTC)"])
    assert re.search(r"closed: interrupted\n.*taken over: resume by \w+\n", happened)
    assert re.search(r"at work, the last of it \d+ s after it was opened", page[""][2])


def test_killed_and_in_doubt(up: Program) -> None:
    began = up.root / "localhost" / "began"
    process = up.start("apply", up.plan(CONFIG + SLOW.format(began=began)), "--yes")
    wait_for(began)
    process.kill()
    process.communicate(timeout=60)
    page = _parts(up("runs", "show").stdout)
    assert re.search("^open, but .* is gone: killed or crashed", page[""][2])
    assert re.fullmatch(r"under way: slow on localhost \(attempt 1, since [:\d]{8}\); how it ended, its host tells "
                        "whoever goes on", page["where it stands"][-1])
    assert _next(up) == ["ultraplan resume RUN", "ultraplan rollback RUN"]
    time.sleep(1.6)
    [receipt] = [path for path in (up.folder / "host-0").glob("runs/*/*.1") if "session" in path.read_text()]
    receipt.write_text("".join(line for line in receipt.read_text().splitlines(keepends=True) if "exit" not in line))
    up("resume", code=5)  # as after a power loss: it began, and nobody knows how it ended
    page = _parts(up("runs", "show").stdout)
    assert page[""][3] == "cause: whether slow on localhost was done is in doubt"
    assert page["where it stands"] == ["in doubt: slow on localhost: it began, and left no exit code when it died"]
    assert _next(up) == ["ultraplan resolve RUN slow@localhost --as done", "ultraplan resume RUN",
                         "ultraplan rollback RUN"]
    up("resolve", "last", "slow@localhost", "--as", "done")
    assert any("a person said: done (by " in line for line in _parts(up("runs", "show").stdout)["what happened (UTC)"])


def test_stopped_as_the_plan_says(up: Program) -> None:
    up("apply", up.plan(f"{CONFIG}{BROKEN}  on_failure: stop\n"), "--yes", code=1)
    assert _parts(up("runs", "show").stdout)[""][2].startswith("failed: 1 changed, 1 failed")
    assert _next(up) == ["ultraplan resume RUN", "ultraplan rollback RUN"]


def test_damaged(up: Program) -> None:
    up("apply", up.plan(CONFIG), "--yes")
    with sqlite3.connect(up.state / "journal.db") as db:
        db.execute("UPDATE records SET payload = CAST(replace(payload, 'config', 'konfig') AS BLOB) WHERE seq = 3")
    page = _parts(up("runs", "show", code=1).stdout)
    assert page[""][2].startswith("damaged: ")
    assert "what to type next" not in page


# -- over days ------------------------------------------------------------------------------------------------------

ABOUT = {"op": "o", "node": "s", "host": "h"}
BACK = {**ABOUT, "direction": "reverse"}
DAY = 86400.0


def _told(events: Sequence[tuple[float, AnyEvent]], status: str) -> str:
    records = [Record(seq, when, event) for seq, (when, event) in enumerate(events, 1)]
    info = {"run": "RUN", "plan": "p", "hosts": ["h"], "opened": records[0].time, "changed": records[-1].time,
            "status": status, "holder": None}
    return story_text(story(info, records), color=False, now=records[-1].time + 3600)


@pytest.fixture
def a_week_later() -> list[tuple[float, AnyEvent]]:
    opened = 1_795_305_600.0  # 2026-11-22 00:00 UTC
    then = opened + 7 * DAY
    return [
        (opened, RunOpened(plan="p", digests={}, epoch=1, hosts=["h"], version="1", user="ann")),
        (opened + 1, Started(**ABOUT)), (opened + 1, Prepared(**ABOUT, way_back="reversible", reverse={})),
        (opened + 1, Intent(**ABOUT, attempt=1, epoch=1)), (opened + 4, Outcome(**ABOUT, ok=True, attempt=1)),
        (opened + 4, Verified(**ABOUT)), (opened + 5, RunClosed(status="succeeded")),
        (then, TakenOver(epoch=2, verb="rollback", user="bob")),
        (then, RollbackDecided(scope="run", cause="asked for by bob")),
        (then + 1, Intent(**BACK, attempt=1, epoch=2)), (then + 2, Outcome(**BACK, ok=True, attempt=1)),
        (then + 2, Verified(**BACK)), (then + 2, RunClosed(status="rolled_back"))]


def test_time_at_work_is_not_the_time_since(a_week_later: list[tuple[float, AnyEvent]]) -> None:
    page = _told(a_week_later, "rolled_back")
    assert "opened 2026-11-22 00:00:00 UTC (7 days ago) by ann (ultraplan 1) on 1 host: h" in page
    assert "1 changed, 1 undone on 1 host; 7 s at work, the last of it 7 d 0:00:02 after it was opened" in page


def test_another_day_is_told_by_its_date(a_week_later: list[tuple[float, AnyEvent]]) -> None:
    lines = _parts(_told(a_week_later, "rolled_back"))["what happened (UTC)"]
    assert lines[3:6] == ["2026-11-29", "00:00:00  +7 d 0:00:00  taken over: rollback by bob",
                          "00:00:00  +7 d 0:00:00  going back: the run, because asked for by bob"]


def test_words_of_hosts_cannot_steer_a_terminal(a_week_later: list[tuple[float, AnyEvent]]) -> None:
    events = [*a_week_later[:4], (a_week_later[0][0] + 2, Failed(**ABOUT, error="one\n\x1b[2Jtwo"))]
    page = _told(events, "open")
    assert "\x1b" not in page
    assert "s on h: failed: one\n" in page
    assert "\\x1b[2Jtwo" in page
