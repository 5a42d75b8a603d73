"""Inputs: where they come from and what they may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.language.types import LANGUAGE
from ultraplan.language.document import Document
from ultraplan.language.errors import SourceError
from ultraplan.language.inputs import parse_extra, resolve_inputs
from ultraplan.language.values import Duration, Size
from ultraplan.secrets import marker


def plan(declared: str) -> Document:
    return LANGUAGE.parse(f"plan: p\ninputs: {{{declared}}}\nsteps:\n  - {{id: a, file: {{path: /x}}}}\n", "p.yaml")


@pytest.mark.parametrize(("kind", "given", "value"), [
    ("string", "1.10", "1.10"), ("string", "yes", "yes"), ("string", 5, "5"), ("string", "", ""),
    ("integer", "42", 42), ("integer", "-1", -1), ("integer", 7, 7), ("number", "1.5", 1.5), ("number", "2", 2),
    ("boolean", "true", True), ("boolean", "False", False), ("boolean", True, True),
    ("duration", "90s", Duration(90)), ("size", "100MB", Size(100_000_000)),
    ("list", "a, b", ["a", "b"]), ("list", "[1, x]", [1, "x"]), ("list", [1], [1]), ("list", "", []),
    ("map", "{a: 1}", {"a": 1}), ("map", {"a": 1}, {"a": 1}),
])
def test_values_are_typed_as_declared(kind: str, given: Any, value: Any) -> None:
    found = resolve_inputs(plan(f"x: {{type: {kind}}}"), {"x": given}, {})["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("declared", "given", "words"), [
    ("type: integer", "1.5", "is not a whole number"), ("type: integer", True, "is not a whole number"),
    ("type: boolean", "yes", "neither true nor false"), ("type: duration", "90", "is not a duration"),
    ("type: duration", 90, "is not a duration"), ("type: size", "1 meg", "is not a size"),
    ("type: map", "a=1", "is not a mapping"), ("type: list", 5, "is not a list"), ("type: list", "[a", "closed"),
    ("type: number", "nan", "is not a number"), ("type: string", ["a"], "is not text"),
    ("choices: [a, b]", "c", "not one of a, b"), ("pattern: '[0-9]+'", "1a", "does not fit the pattern"),
])
def test_values_that_do_not_fit_are_refused_at_the_declaration(declared: str, given: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        resolve_inputs(plan(f"x: {{{declared}}}"), {"x": given}, {})
    at = caught.value.diagnostics[0].at
    assert at is not None
    assert at.line == 2


def test_arguments_win_over_the_environment_and_that_over_defaults() -> None:
    document = plan("log-level: {default: a}")
    environ = {"ULTRAPLAN_INPUT_LOG_LEVEL": "b"}
    assert resolve_inputs(document, {}, {}) == {"log-level": "a"}
    assert resolve_inputs(document, {}, environ) == {"log-level": "b"}
    assert resolve_inputs(document, {"log-level": "c"}, environ) == {"log-level": "c"}


def test_everything_that_is_missing_or_unknown_is_told_at_once() -> None:
    document = plan("version: {description: Release to install}, count: {type: integer}, opt: {required: false}")
    with pytest.raises(SourceError) as caught:
        resolve_inputs(document, {"versoin": "1", "count": "x"}, {})
    text = str(caught.value)
    assert "the input 'version' is missing: Release to install" in text
    assert "give it with -e version=… or ULTRAPLAN_INPUT_VERSION" in text
    assert "no input 'versoin'" in text
    assert "did you mean 'version'?" in text
    assert "'x' is not a whole number" in text
    assert resolve_inputs(document, {"version": "1", "count": 1}, {})["opt"] is None


def test_a_secret_is_given_by_reference_and_never_as_a_value() -> None:
    document = plan("password: {secret: true}")
    assert resolve_inputs(document, {"password": "env:PW"}, {}) == {"password": marker("env:PW")}
    assert resolve_inputs(document, {"password": {"secret": "file:/k"}}, {}) == {"password": marker("file:/k")}
    assert resolve_inputs(document, {"password": marker("env:PW")}, {}) == {"password": marker("env:PW")}
    for plain in ("hunter2", "hunter2:with-colon", 5, ["hunter2"], "env:"):
        with pytest.raises(SourceError, match="by reference") as caught:
            resolve_inputs(document, {"password": plain}, {})
        assert "hunter2" not in str(caught.value)


def test_extra_arguments_are_text_and_files_are_yaml(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("a: 1\nb: [x]\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    given = parse_extra(["a=0", f"@{tmp_path}/in.yaml", f"@{tmp_path}/empty.yaml", "c=x=y z", "d="])
    assert given == {"a": 1, "b": ["x"], "c": "x=y z", "d": ""}


def test_extra_arguments_that_make_no_sense_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("[1]\n")
    (tmp_path / "bad.yaml").write_text("a: {{ x }}\n")
    with pytest.raises(SourceError) as caught:
        parse_extra(["novalue", "=x", f"@{tmp_path}/list.yaml", f"@{tmp_path}/bad.yaml", f"@{tmp_path}/none.yaml"])
    assert sorted(one.code for one in caught.value.diagnostics) == ["input", "input", "unquoted-template", "unreadable"]
