"""Reading YAML: types, positions, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ultraplan.language import compose
from ultraplan.language.errors import Position, SourceError
from ultraplan.language.source import decode, load_yaml, read_source


@pytest.mark.parametrize(("text", "value"), [
    ("true", True), ("False", False), ("TRUE", True), ("yes", "yes"), ("No", "No"), ("on", "on"), ("off", "off"),
    ("y", "y"), ("null", None), ("~", None), ("", None), ("'~'", "~"), ("none", "none"),
    ("0640", 640), ("640", 640), ("0o640", 0o640), ("0x1F", 31), ("-12", -12), ("+3", 3), ("1_000", "1_000"),
    ("0b11", "0b11"), ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("1.10", 1.1), (".5", 0.5), ("1e3", 1000.0),
    ("12e4567", "12e4567"), ("1.2.3", "1.2.3"), ("2024-01-01", "2024-01-01"), ("2024-01-01T10:00:00Z",) * 2,
    ("'640'", "640"), ('"true"', "true"), ("!!str 12", "12"), ("! 12", "12"), ("!!int '12'", 12), ("!!float 3", 3.0),
    ("=", "="), ("-", [None]), (".", "."), ("+", "+"), ("a-b", "a-b"),
])
def test_plain_scalars_have_the_types_of_yaml_1_2(text: str, value: Any) -> None:
    data, _ = load_yaml(f"x: {text}\n" if text != "-" else "x:\n-\n", "f.yaml")
    assert data == {"x": value}
    assert type(data["x"]) is type(value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n", "\ufeff"])
def test_a_text_without_data_is_none(text: str) -> None:
    assert load_yaml(text, "f.yaml")[0] is None


def test_positions_lead_to_keys_values_and_items() -> None:
    text = 'plan: "p"\nsteps:\n  - id: a\n    file: {path: /x, mode: "0640"}\n'
    _, where = load_yaml(text, "f.yaml")
    assert where.at(("plan",)) == Position("f.yaml", 1, 7)
    assert where.at(("plan",)).length == 3
    assert where.at(("plan",), key=True) == Position("f.yaml", 1, 1)
    assert where.at(("steps", 0)) == Position("f.yaml", 3, 5)
    assert where.at(("steps", 0, "file", "mode")) == Position("f.yaml", 4, 28)
    assert where.at(("steps", 0, "file", "mode"), key=True) == Position("f.yaml", 4, 22)
    assert where.line(4) == '    file: {path: /x, mode: "0640"}'


def test_the_position_of_what_is_missing_is_its_nearest_parents() -> None:
    _, where = load_yaml("a:\n  b: 1\n", "f.yaml")
    assert where.at(("a", "zzz", 3)) == where.at(("a",))
    assert where.at(("q",), key=True) == where.at(())
    assert where.line(99) == ""


@pytest.mark.parametrize(("text", "line", "column", "wanted"), [
    ("x: abc def\n", 1, 5, (1, 8)),
    ("x: 'abc def'\n", 1, 5, (1, 9)),
    ("x: |\n  one\n  two\n", 2, 3, (3, 5)),
    ("x: |2-\n    one\n  two\n", 2, 1, (1, 4)),
    ('x: "a\\tb c"\n', 1, 3, (1, 4)),
    ("x: 'it''s c'\n", 1, 6, (1, 4)),
    ("x: >\n  folded\n  text\n", 1, 8, (1, 4)),
])
def test_characters_inside_scalars_have_positions_where_the_text_is_literal(
    text: str, line: int, column: int, wanted: tuple[int, int],
) -> None:
    _, where = load_yaml(text, "f.yaml")
    at = where.within(("x",), line, column)
    if text.startswith("x: |2-"):
        assert at.line in (1, 3)  # an explicit indentation is not followed
    else:
        assert (at.line, at.column) == wanted


def test_merge_keys_fill_what_the_mapping_lacks_and_keep_their_positions() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 9\n"
    data, where = load_yaml(text, "f.yaml")
    assert data["c"] == {"x": 9, "y": 2, "z": 4} == yaml.safe_load(text)["c"]
    assert where.at(("c", "y")).line == 1
    assert where.at(("c", "z")).line == 2
    assert where.at(("c", "x")).line == 5


def test_aliases_within_bounds_are_followed() -> None:
    data, where = load_yaml("a: &a [1, 2]\nb: *a\nc: &k name\n*k : 5\n", "f.yaml")
    assert data == {"a": [1, 2], "b": [1, 2], "c": "name", "name": 5}
    assert where.at(("b", 1)).line == 1


def test_an_explosion_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    started = time.monotonic()
    with pytest.raises(SourceError, match="repeat more than"):
        load_yaml("\n".join(lines), "f.yaml")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000])
def test_deep_nesting_is_refused_without_a_crash(text: str) -> None:
    with pytest.raises(SourceError, match="levels deep"):
        load_yaml(text, "f.yaml")


def test_all_mistakes_are_told_in_the_order_of_the_text() -> None:
    with pytest.raises(SourceError) as caught:
        load_yaml("a: 1\na: 2\nb: !vault x\n1: c\nb: *nowhere\n", "f.yaml")
    assert [(one.code, one.at and one.at.line) for one in caught.value.diagnostics] == [
        ("duplicate-key", 2), ("vault-tag", 3), ("key-not-text", 4), ("duplicate-key", 5), ("alias", 5)]


def test_carets_stand_under_the_mistake_behind_tabs_and_wide_text() -> None:
    with pytest.raises(SourceError) as caught:
        load_yaml('a: "käse"\nb: [x,\ty, !foo z]\n', "f.yaml")
    rendered = caught.value.diagnostics[0].render().splitlines()
    assert rendered[1][rendered[2].index("^"):].startswith("!foo")
    assert "\t" in rendered[2]


def test_the_pure_python_parser_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a: b: c\n", "a: {{ x }}\n", "a:\n\tb: 1\n", 'a: "x\n', "a: [1\n", "a: 1\n  b: 2\n", "a:\n  b: 1\n c: 2\n",
             "a: @x\n", 'a: "\\d"\n', "a: - b\n", "a: {x: 1\n", "a: *\n"]

    def codes(text: str) -> tuple[str, int]:
        with pytest.raises(SourceError) as caught:
            load_yaml(text, "f.yaml")
        first = caught.value.diagnostics[0]
        assert first.at is not None
        return first.code, first.at.line

    built_in = [codes(text) for text in texts]
    monkeypatch.setattr(compose, "_Parser", yaml.SafeLoader)
    assert [codes(text) for text in texts] == built_in


def test_files_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or directory"):
        read_source(tmp_path / "none.yaml")
    with pytest.raises(SourceError, match="is a directory"):
        read_source(tmp_path)
    with pytest.raises(SourceError, match="no file can have that name"):
        read_source("a\0b")
    with pytest.raises(SourceError) as caught:
        decode(b"a: 1\nb: caf\xe9\n", "f.yaml")
    assert caught.value.diagnostics[0].at == Position("f.yaml", 2, 7)


def test_five_megabytes_take_seconds() -> None:
    step = '  - id: s{}\n    file: {{path: /etc/x, mode: "0640", content: "some text that stands in a file"}}\n'
    text = "steps:\n" + "".join(step.format(number) for number in range(50_000))
    assert len(text) > 4_500_000
    started = time.process_time()
    data, where = load_yaml(text, "f.yaml")
    assert time.process_time() - started < 15
    assert len(data["steps"]) == 50_000
    assert where.at(("steps", 49_999, "id")).line == 100_000
