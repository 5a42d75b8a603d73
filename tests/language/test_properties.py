"""What must hold for any text: positions, round trips, and that nothing but `SourceError` comes of a file."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.language.types import LANGUAGE
from ultraplan.language.errors import SourceError
from ultraplan.language.examining import check, references
from ultraplan.language.expressions import ExpressionError, render, render_text
from ultraplan.language.source import SourceMap, decode, load_yaml
from ultraplan.language.values import Duration, Size

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), min_size=1, max_size=12)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-10**6, 10**6) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=20)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in leaves(one, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, one in enumerate(value) for leaf in leaves(one, (*path, index))]
    return [(path, value)]


def written(where: SourceMap, path: tuple[Any, ...], key: bool = False) -> Any:
    """What the text at the position of ``path`` says by itself."""
    at = where.at(path, key=key)
    text = where.line(at.line)[at.column - 1 : at.column - 1 + at.length]
    return load_yaml(f"[{text}]", "x")[0][0]


@settings(max_examples=150, deadline=None)
@given(DATA, st.booleans())
def test_every_position_points_at_the_text_of_its_value(data: Any, flow: bool) -> None:
    text = yaml.dump(data, allow_unicode=True, width=10**6, default_flow_style=flow, default_style='"', sort_keys=False)
    for value in (text, "# ä comment\n" + text):
        loaded, where = load_yaml(value, "f.yaml")
        for path, leaf in leaves(loaded):
            if isinstance(leaf, str):
                assert written(where, path) == leaf
            if path and isinstance(path[-1], str):
                assert written(where, path, key=True) == path[-1]


@settings(max_examples=150, deadline=None)
@given(DATA)
def test_what_json_writes_reads_the_same(data: Any) -> None:
    import json

    assert load_yaml(json.dumps(data, ensure_ascii=False), "f.json")[0] == data


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_give_anything_but_mistakes(data: bytes) -> None:
    try:
        text = decode(data, "f.yaml")
        load_yaml(text, "f.yaml")
        LANGUAGE.parse(text, "f.yaml")
    except SourceError as error:
        assert error.diagnostics
        assert all(one.render() for one in error.diagnostics)


PIECES = st.sampled_from([
    "plan", "steps", "id", "file", "command", "undo", "block", "rescue", "when", "loop", "vars", "inputs", "secret",
    "path", "mode", "needs", "become", "include", "type", "default", "choices", "pattern", "hosts", "serial",
    "objectives",
])
NUMBERS = st.integers(-3, 1000) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | PIECES | \
    st.sampled_from(["{{ x }}", "{{", "0640", "10s", "a b", "", "env:X", "1h", "{% if", "-rf", "$(id)", "a\nb", "é"])
SHAPES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PIECES, inner, max_size=5),
                      max_leaves=25)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(PIECES, SHAPES, max_size=6), st.lists(st.dictionaries(PIECES, SHAPES, max_size=5), max_size=3))
def test_no_shape_of_plan_gives_anything_but_mistakes(plan: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump({**plan, "plan": "p", "steps": steps}, allow_unicode=True)
    try:
        LANGUAGE.parse(text, "f.yaml")
    except SourceError as error:
        lines = text.count("\n") + 1
        assert all(one.at is not None and one.at.line <= lines for one in error.diagnostics)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_text_without_braces_renders_as_itself(text: str) -> None:
    text = text.replace("{", "(")
    assert render(text, {}) == text
    assert render({text: [text]}, {}) == {text: [text]}
    assert render_text(text, {}, "t") == text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_value_goes_through_a_template_unchanged(value: str) -> None:
    assert render("{{ vars.x }}", {"vars": {"x": value}}) == value
    assert render("<{{ vars.x }}>", {"vars": {"x": value}}) == f"<{value}>"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["{{", "}}", "{%", "%}", " ", "x", "if", "for", "in", "|", ".", "'", "(", ")", "[", "]",
                                 "endif", "-", "1", "\n", "{#", "set", "=", "~", "default"]), max_size=14).map("".join))
def test_any_template_gives_a_value_or_an_expression_error(text: str) -> None:
    faults = check(text)
    references(text)
    try:
        render(text, {"x": [1, "a"]})
    except ExpressionError:
        return
    assert not faults


@settings(max_examples=200)
@given(st.integers(0, 10**10))
def test_durations_read_back_as_they_are_written(milliseconds: int) -> None:
    duration = Duration(milliseconds / 1000)
    assert abs(Duration.parse(str(duration)) - duration) < 0.0006


@settings(max_examples=200)
@given(st.integers(0, 10**15), st.sampled_from(["B", "kB", "MB", "GB", "KiB", "MiB", "GiB", "TiB"]))
def test_sizes_read_as_their_unit_says(number: int, unit: str) -> None:
    power = {"B": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}[unit[0]]
    size = Size.parse(f"{number}{unit}")
    exact = number * (1024 if "i" in unit else 1000) ** power
    assert abs(size - exact) <= exact * 1e-15 + (0 if exact < 2**53 else exact * 2**-52)
    assert Size.parse(f"{int(size)}B") == size or size >= 2**53
