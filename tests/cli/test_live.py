"""The live view, on real pseudo-terminals, and its picture as data."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.cli.program import Program, wait_for
from tests.cli.terminal import Terminal
from ultraplan.cli.views.live import folded, picture
from ultraplan.cli.views.paint import visible
from ultraplan.cli.views.progress import ACTIVE, AHEAD, ENDED, Board, Row

STEPS = """
- id: config
  file: {path: "{{ host.vars.root }}/config", content: one}
- id: slow
  command: {run: "touch '{{ host.vars.root }}/began'; sleep {{ 1 if host.name == 'a' else 2 }}"}
  reads_only: true
- id: flaky
  command: {run: "test -e '{{ host.vars.root }}/again' || { touch '{{ host.vars.root }}/again'; exit 1; }"}
  reads_only: true
  retries: 3
  delay: 1s
"""


@pytest.mark.parametrize("columns", [40, 120])
def test_it_shows_steps_hosts_and_what_they_wait_for(two: Program, columns: int) -> None:
    plan = two.plan(STEPS)
    with Terminal(two, "apply", plan, "--yes", columns=columns) as terminal:
        terminal.wait_for("slow on b")
        assert terminal.finish() == 0
        assert "waits for" in terminal.plain
        assert "next try" in terminal.plain or columns == 40
        assert max(map(len, terminal.screen)) <= columns
        told = "\n".join(terminal.screen)
        assert "succeeded: 4 changed" in told or "succeeded: 2 changed" in told
        assert "▸" not in told, "the picture is gone when the run is over"
        assert told.count("config  done") == 2
        assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind("\x1b[?25l"), "the cursor is back"


def test_it_shows_how_everything_is_undone(two: Program) -> None:
    plan = two.plan(STEPS + '- id: broken\n  command: {run: "exit 1"}\n  reads_only: true\n')
    with Terminal(two, "apply", plan, "--yes") as terminal:
        assert terminal.finish() == 1
        told = "\n".join(terminal.screen)
        assert "going back" in told
        assert "config  undone" in told
        assert "rolled back" in told


def test_no_color_means_no_colour(two: Program) -> None:
    two.environment["NO_COLOR"] = "1"
    with Terminal(two, "apply", two.plan(STEPS), "--yes") as terminal:
        assert terminal.finish() == 0
        assert "\x1b[3" not in terminal.raw.replace("\x1b[3A", "")


def test_it_survives_a_resize(two: Program) -> None:
    with Terminal(two, "apply", two.plan(STEPS), "--yes") as terminal:
        terminal.wait_for("slow")
        terminal.resize(20, 6)
        assert terminal.finish() == 0
        assert "Traceback" not in terminal.plain


def test_apply_asks_and_only_yes_goes_on(two: Program) -> None:
    plan = two.plan(STEPS)
    for answer in ("\n", "y\n", "\x04"):
        with Terminal(two, "apply", plan) as terminal:
            terminal.wait_for("Only 'yes' goes on")
            terminal.type(answer)
            assert terminal.finish() == 1
            assert "nothing was touched" in terminal.plain
    with Terminal(two, "apply", plan) as terminal:
        terminal.wait_for("Only 'yes' goes on")
        terminal.type("yes\n")
        assert terminal.finish() == 0


APPROVED = """
- id: sure
  approve: {message: "Go on with it?", deadline: DEADLINE}
  run_once: true
- id: config
  file: {path: "{{ host.vars.root }}/config", content: one}
"""


@pytest.mark.parametrize(("typed", "deadline", "code"), [("yes\n", "30s", 0), ("maybe\nno\n", "30s", 1), ("", "1s", 1)])
def test_a_person_is_asked_until_the_deadline(two: Program, typed: str, deadline: str, code: int) -> None:
    plan = two.plan(APPROVED.replace("DEADLINE", deadline))
    with Terminal(two, "apply", plan, "--yes") as terminal:
        terminal.wait_for("Go on with it?")
        terminal.wait_for("yes or no:")
        terminal.type(typed)
        assert terminal.finish() == code
        told = "\n".join(terminal.screen)
        assert "Go on with it?" in told.split("run opened")[1], "the question stays to be read"
        assert (two.root / "a" / "config").exists() == (code == 0)


def test_ctrl_c_at_a_question_stops_in_order_and_it_is_asked_again(two: Program) -> None:
    plan = two.plan(APPROVED.replace("DEADLINE", "30s"))
    with Terminal(two, "apply", plan, "--yes") as terminal:
        terminal.wait_for("yes or no:")
        terminal.type("\x03")
        assert terminal.finish() == 130
    with Terminal(two, "resume") as terminal:
        terminal.wait_for("yes or no:")
        terminal.type("yes\n")
        assert terminal.finish() == 0


def test_ctrl_c_in_the_terminal_does_not_reach_what_runs_on_a_local_host(two: Program) -> None:
    plan = two.plan("- id: slow\n  command: {run: \"touch '{{ host.vars.root }}/began'; sleep 1; "
                    "touch '{{ host.vars.root }}/ended'\"}\n  undo: {command: {run: 'true'}}\n- id: after\n  sleep: 1s")
    with Terminal(two, "apply", plan, "--yes") as terminal:
        wait_for(two.root / "a" / "began")
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "stopping" in terminal.plain
    assert (two.root / "a" / "ended").exists()


def _steps(ended: int, active: int, ahead: int) -> list[Row]:
    return [Row("x", f"s{index}", "text", "quiet", kind) for index, kind in
            enumerate([ENDED] * ended + [ACTIVE] * active + [AHEAD] * ahead)]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8, 30])
@pytest.mark.parametrize("counts", [(0, 1, 0), (20, 1, 20), (40, 0, 0), (0, 0, 40), (1, 30, 1), (39, 1, 0)])
def test_many_steps_are_folded_around_what_goes_on(counts: tuple[int, int, int], most: int) -> None:
    rows = folded(_steps(*counts), most)
    assert len(rows) <= most
    if counts[1] and most >= 3:
        assert any(row.kind == ACTIVE for row in rows)
    hidden = [row for row in rows if row.mark == "…"]
    shown = [row for row in rows if row.mark != "…"]
    if most >= 3:
        assert sum(int(row.name.split()[0]) for row in hidden) + len(shown) == sum(counts)


@pytest.mark.parametrize("width", [8, 20, 40, 120])
@pytest.mark.parametrize("height", [3, 6, 24])
@pytest.mark.parametrize("name", ["web1", "x" * 300, "\x1b[2J\x07", "日本語" * 20, "a\nb\tc", "\u202eevil", "\udcff"])
def test_a_picture_fits_its_terminal_whatever_names_there_are(width: int, height: int, name: str) -> None:
    hosts: Sequence[Row] = [Row("▸", f"{name}{index}", f"{name} 3 s: {name}", "work", ACTIVE) for index in range(50)]
    lines = picture(Board(name, _steps(5, 3, 9), hosts), width, height, 200)
    assert len(lines) <= height
    for line in lines:
        assert line.cell_len < width or width < 8
        assert not any(char in line.plain for char in "\x1b\x07\n\u202e\udcff")


def test_control_characters_are_made_visible() -> None:
    assert visible("a\x1b[31mb\r\n\u202e\x9b") == "a\\x1b[31mb\\x0d\\x0a\\u202e\\x9b"
