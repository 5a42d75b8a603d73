"""Whatever a user can cause is told in words: what, where, why; never with a traceback."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cli.program import Program

FINE = '- id: config\n  file: {path: "{{ host.vars.root }}/config", content: one}\n'

WRONG = [
    # arguments, exit code, what is said
    (["validate", "none.yaml"], 2, "none.yaml"),
    (["validate", "."], 2, "directory"),
    (["validate", "binary.yaml"], 2, "binary.yaml"),
    (["validate", "empty.yaml"], 2, "empty"),
    (["validate", "loop.yaml"], 2, "loop.yaml"),
    (["validate", "pl\udcffan.yaml"], 2, "pl"),
    (["validate", "plan.yaml", "-i", "none.ini"], 2, "none.ini"),
    (["validate", "plan.yaml", "-e", "x"], 2, "x"),
    (["validate", "plan.yaml", "-e", "@none.yaml"], 2, "none.yaml"),
    (["validate", "plan.yaml", "-e", "nope=1"], 2, "nope"),
    (["validate", "plan.yaml", "-l", "nowhere"], 2, "nowhere"),
    (["validate", "plan.yaml", "-l", "~("], 2, "regular expression"),
    (["plan", "plan.yaml", "-o", "none/here.plan"], 2, "none/here.plan"),
    (["plan", "plan.yaml", "-o", "."], 2, "folder"),
    (["apply", "broken.plan", "--yes"], 2, "broken.plan"),
    (["apply", "other.plan", "--yes"], 2, "not a saved plan"),
    (["apply", "old.plan", "--yes"], 2, "version 99"),
    (["apply", "none.plan", "--yes"], 2, "none.plan"),
    (["resume", "1999"], 1, "1999"),
    (["rollback", "", "--yes"], 1, "ultraplan runs"),
    (["resolve", "last", "x", "--as", "done"], 1, "no runs"),
    (["runs", "show", "1999"], 1, "1999"),
    (["runs", "follow", "1999"], 1, "1999"),
    (["runs", "prune", "1999"], 1, "1999"),
    (["runs", "--state", "file.txt"], 1, "file.txt"),
    (["runs", "--state", "/proc/none"], 1, "/proc/none"),
    (["diff", "broken.plan", "broken.plan"], 2, "not a saved plan"),
    (["diff", "a", "b"], 1, "'a'"),
    (["graph", "none.yaml"], 2, "none.yaml"),
    (["inventory", "list", "nowhere"], 2, "nowhere"),
    (["inventory", "graph", "nowhere"], 2, "nowhere"),
    (["inventory", "list", "-i", "binary.yaml"], 2, "binary.yaml"),
    (["inventory"], 2, "WHAT"),
    (["steps", "nope"], 2, "nope"),
    (["init", "file.txt"], 2, "no folder"),
    (["init", "file.txt/below"], 1, "file.txt"),
    (["completion", "elvish"], 2, "elvish"),
    (["nope"], 2, "nope"),
    (["--nope"], 2, "--nope"),
]


@pytest.fixture
def full(up: Program) -> Program:
    """A folder full of things that are not what they should be."""
    up.plan(FINE)
    up.write("binary.yaml", bytes(range(256)))
    up.write("empty.yaml", "")
    up.write("file.txt", "a file\n")
    up.write("broken.plan", '{"format": "ultraplan/plan", "version": 1, "run": {"id"')
    up.write("other.plan", '{"format": "something/else", "version": 1}')
    up.write("old.plan", '{"format": "ultraplan/plan", "version": 99}')
    (up.folder / "loop.yaml").symlink_to("loop.yaml")
    return up


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG, ids=[" ".join(one[0]) for one in WRONG])
def test_it_is_told_in_words(full: Program, arguments: list[str], code: int, said: str) -> None:
    done = full(*arguments, code=code)
    assert "Traceback" not in done.stderr + done.stdout
    assert said in done.stderr, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [one[0] for one in WRONG if one[0][0] in ("validate", "runs", "diff", "steps")],
                         ids=" ".join)
def test_with_json_it_is_one_json_document(full: Program, arguments: list[str]) -> None:
    told = full.json(*arguments, code=None)
    assert told["format"] == "ultraplan/error"
    assert told["message"]


@pytest.mark.parametrize("arguments", [["steps"], ["runs"], ["inventory", "list"], ["steps", "file"],
                                       ["plan", "plan.yaml"], ["--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error_worth_words(full: Program, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(full.command(*arguments), cwd=full.folder, env=full.environment, stdout=writing,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writing)
    assert done.stderr == ""


def test_output_in_a_poor_locale_is_no_trouble(full: Program) -> None:
    done = full("graph", "plan.yaml", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert "config" in done.stdout


def test_a_closed_stdout_is_no_traceback(full: Program) -> None:
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *full.command("steps")], cwd=full.folder,
                          env=full.environment, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def test_what_a_host_says_cannot_steer_the_terminal(full: Program) -> None:
    full.plan('- id: rude\n  command: {run: "printf \'\\\\033[2Jgone\\\\007\' >&2; exit 1"}\n  reads_only: true')
    done = full("apply", "plan.yaml", "--yes", code=1)
    told = done.stdout + full("runs", "show").stdout
    assert "gone" in told
    assert "\x1b" not in told
    assert "\x07" not in told
