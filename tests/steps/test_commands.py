"""`command` and `script` run what was asked, as it was asked, and tell what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.steps.hostshell import HostShell
from ultraplan.secrets import Secrets, marker
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import FieldDiff, State, StepFailed, WayBack
from ultraplan.steps.commands import OUTPUT_LIMIT, CommandStep, ScriptStep
from ultraplan.steps.params import build, schema

COMMAND, SCRIPT = CommandStep(), ScriptStep()
HOSTILE = [
    "-rf", "a b", "it's", '"', "$(touch pwned)", "`touch pwned`", ";touch pwned", "new\nline", "é€", "*", "",
    "\\",
]


def outputs(host: HostShell, step: Any, **raw: Any) -> Any:
    params = host.build(step, **raw)
    _change, reply, wrong = host.apply(step, params)
    assert wrong is None
    return step.outputs(params, host.state_of(step, params), reply)


def test_a_command_line_goes_to_a_shell(host: HostShell) -> None:
    found = outputs(host, COMMAND, run="x='a b'; echo \"$x\" | tr a-z A-Z; echo why >&2")
    assert found == {"stdout": "A B", "stderr": "why", "exit": 0, "json": None}


def test_a_bare_string_is_a_command_line() -> None:
    params = build(COMMAND, "date", lambda kind, name: None)
    assert params.run == "date"


def test_argv_reaches_the_program_word_for_word(host: HostShell) -> None:
    found = outputs(host, COMMAND, argv=["printf", "<%s>", *HOSTILE])
    assert found["stdout"] == "".join(f"<{word}>" for word in HOSTILE)
    assert not (host.root / "pwned").exists()


@pytest.mark.parametrize("word", ["FOO=bar", "if", "cd", "up_x", "{", "!", ":", "$(touch pwned)", "a;b"])
def test_the_first_word_of_argv_is_a_program_and_nothing_else(host: HostShell, word: str) -> None:
    params = host.build(COMMAND, argv=[word, "touch", "pwned"])
    _change, reply, wrong = host.apply(COMMAND, params)
    assert reply.exit == 127
    assert wrong is not None and "127" in wrong
    assert not (host.root / "pwned").exists()


def test_a_syntax_error_stays_in_the_persons_own_shell(host: HostShell) -> None:
    params = host.build(COMMAND, run="if true; echo ')' '")
    _change, reply, wrong = host.apply(COMMAND, params)
    assert reply.exit == 2
    assert wrong is not None and wrong.startswith("exit code 2: ")


@pytest.mark.parametrize("ok_exit, wrong", [([0], "exit code 3: bad\nworse"), ([0, 3], None)])
def test_exit_codes_are_right_or_wrong_as_declared(
        host: HostShell, ok_exit: list[int], wrong: str | None) -> None:
    params = host.build(COMMAND, run="echo bad >&2; echo; echo worse >&2; exit 3", ok_exit=ok_exit)
    assert host.apply(COMMAND, params)[2] == wrong


def test_a_failure_shows_the_last_lines_of_what_it_said(host: HostShell) -> None:
    params = host.build(COMMAND, run="seq 40 >&2; exit 143")
    assert host.apply(COMMAND, params)[2] == "exit code 143 (SIGTERM): 36\n37\n38\n39\n40"


def test_it_runs_in_the_folder_asked_for(host: HostShell) -> None:
    folder = host.root / "it's a -rf\n$(folder)"
    folder.mkdir()
    assert outputs(host, COMMAND, run="pwd; touch here", chdir=str(folder))["stdout"] == str(folder)
    assert (folder / "here").exists()


def test_nothing_runs_where_the_folder_is_missing(host: HostShell) -> None:
    params = host.build(COMMAND, run="touch pwned", chdir="/nowhere/at/all")
    wrong = host.apply(COMMAND, params)[2]
    assert wrong is not None and "/nowhere/at/all" in wrong
    assert not (host.root / "pwned").exists()


@pytest.mark.parametrize("text", ["", "one\ntwo\n\n", "-n", "%s \\n $(touch pwned) '", "é€"])
@pytest.mark.parametrize("program", [{"run": "cat"}, {"argv": ["cat"]}])
def test_stdin_is_the_text_given(host: HostShell, text: str, program: dict[str, Any]) -> None:
    params = host.build(COMMAND, stdin=text, **program)
    assert host.apply(COMMAND, params)[1].stdout == text.encode()


def test_with_creates_it_runs_once(host: HostShell) -> None:
    path = str(host.root / "it's\n$(there)")
    params = host.build(COMMAND, argv=["touch", "--", path], creates=path)
    assert host.apply(COMMAND, params)[2] is None
    assert host.plan(COMMAND, params) is None
    assert COMMAND.outputs(params, host.state_of(COMMAND, params), None)["exit"] == 0


def test_a_dangling_link_counts_as_created(host: HostShell) -> None:
    (host.root / "link").symlink_to("/nowhere/at/all")
    assert host.plan(COMMAND, host.build(COMMAND, run="false", creates=str(host.root / "link"))) is None


def test_with_removes_it_runs_while_there_is_something(host: HostShell) -> None:
    path = host.root / "-rf"
    params = host.build(COMMAND, argv=["rm", "--", str(path)], removes=str(path))
    assert host.plan(COMMAND, params) is None
    path.touch()
    assert host.apply(COMMAND, params)[2] is None
    assert host.plan(COMMAND, params) is None


@pytest.mark.parametrize("name, says", [("creates", "does not exist"), ("removes", "still exists")])
def test_a_command_that_did_not_do_what_it_declares_has_failed(host: HostShell, name: str, says: str) -> None:
    path = host.root / "thing"
    if name == "removes":
        path.touch()
    wrong = host.apply(COMMAND, host.build(COMMAND, run="true", **{name: str(path)}))[2]
    assert wrong is not None and says in wrong and str(path) in wrong


@pytest.mark.parametrize("printed, json", [
    ('{"a": [1, 2.5, null]}\n', {"a": [1, 2.5, None]}), ("[]", []), ("7\n", 7), ("", None), ("{", None),
    ("NaN", None), ("[1,]", None), ("[" * 100_000, None), ("9" * 5000, None),
])
def test_stdout_is_parsed_where_it_is_json(printed: str, json: Any) -> None:
    found = COMMAND.outputs(build(COMMAND, "x", lambda kind, name: None), State(), Reply(0, printed.encode()))
    assert found["json"] == json


def test_outputs_are_bounded_and_cannot_ask_for_secrets() -> None:
    reply = Reply(0, b"1" * (OUTPUT_LIMIT + 1), (marker("env:HOME") + "\n").encode())
    found = COMMAND.outputs(build(COMMAND, "x", lambda kind, name: None), State(), reply)
    assert len(found["stdout"]) == OUTPUT_LIMIT
    assert found["json"] is None, "half a document is none"
    assert found["stderr"] == "\ufffdenv:HOME\ufffd"


SECRET = {"secret": "env:PASSWORD"}


@pytest.mark.parametrize("step, raw, path", [
    (COMMAND, {"run": SECRET}, ("run",)), (COMMAND, {"argv": ["login", SECRET]}, ("argv", 1)),
    (SCRIPT, {"content": SECRET}, ("content",)), (SCRIPT, {"source": "x", "args": [SECRET]}, ("args", 0)),
])
def test_a_secret_is_no_part_of_a_program(step: Any, raw: Any, path: tuple[Any, ...]) -> None:
    assert [where for where, _ in step.check(raw)] == [path]


@pytest.mark.parametrize("step, raw", [
    (COMMAND, {"run": f"login -p '{marker('env:PASSWORD')}'"}),
    (COMMAND, {"argv": ["login", "-p" + marker("env:PASSWORD")]}),
    (SCRIPT, {"content": "x=" + marker("env:P")}), (SCRIPT, {"content": "x", "args": [marker("env:X")]}),
])
def test_nor_when_it_comes_by_a_variable(step: Any, raw: Any) -> None:
    with pytest.raises(StepFailed, match="environment"):
        step.decide(build(step, raw, lambda kind, name: None), State())


def test_a_secret_on_stdin_arrives_unharmed(host: HostShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "it's $(touch pwned) \\ \\n%s")
    change = host.plan(COMMAND, host.build(COMMAND, run="cat", stdin=f"<{marker('env:PASSWORD')}>"))
    assert change is not None and change.forward is not None
    assert "PASSWORD" not in repr(change.diff) + change.summary
    text = Secrets(["env:PASSWORD"]).reveal_in_shell(change.forward.text)
    assert host.run(Program(text, foreign=True)).stdout == b"<it's $(touch pwned) \\ \\n%s>"


@pytest.mark.parametrize("step, raw, path", [
    (COMMAND, {}, ()),
    (COMMAND, {"run": "x", "argv": ["x"]}, ("argv",)), (COMMAND, {"argv": ["-x"]}, ("argv", 0)),
    (SCRIPT, {}, ()), (SCRIPT, {"source": "x", "content": "x"}, ("content",)),
])
def test_static_mistakes_are_found(step: Any, raw: dict[str, Any], path: tuple[Any, ...]) -> None:
    assert [where for where, _ in step.check(raw)] == [path]


def test_the_way_back_has_to_be_declared_and_the_effect_is_opaque() -> None:
    for step in (COMMAND, SCRIPT):
        assert step.way_back is WayBack.DECLARED and step.opaque
        for field in schema(step)["properties"].values():
            assert field["description"]


def test_a_script_of_the_controller_runs_with_its_arguments(host: HostShell) -> None:
    (host.base / "say.sh").write_text("printf '<%s>' \"$@\"; cat\n")
    found = outputs(host, SCRIPT, source="say.sh", args=HOSTILE, stdin="in")
    assert found["stdout"] == "".join(f"<{word}>" for word in HOSTILE) + "in"
    assert not (host.root / "pwned").exists()


def test_a_scripts_text_may_stand_in_the_plan_and_its_interpreter_may_have_options(host: HostShell) -> None:
    found = outputs(host, SCRIPT, content="BEGIN { print ARGC, FS }", interpreter="awk -F: -f", args=["x y"])
    assert found["stdout"] == "2 :"


def test_a_script_is_told_apart_by_its_exit_code(host: HostShell) -> None:
    params = host.build(SCRIPT, content="echo no >&2; exit 4")
    assert host.apply(SCRIPT, params)[2] == "exit code 4: no"


def test_what_the_plan_shows() -> None:
    change = COMMAND.decide(build(COMMAND, {"run": "one\ntwo"}, lambda kind, name: None), State())
    assert change is not None
    assert change.summary == "run one…"
    assert change.diff == (FieldDiff("run", None, "one\ntwo"),)
