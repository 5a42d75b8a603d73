"""Editing by lines: what Ansible's lineinfile and blockinfile do to the same texts."""

from __future__ import annotations

from typing import Any

import pytest

from ultraplan.steps.textedit import Place, drop_lines, put_block, put_line

ABC = "a\nb\nc\n"

LINES: list[tuple[str, str, dict[str, Any], str]] = [
    ("added at the end", ABC, {"line": "d"}, "a\nb\nc\nd\n"),
    ("added after a last line without newline", "a", {"line": "b"}, "a\nb\n"),
    ("added to an empty file", "", {"line": "a"}, "a\n"),
    ("there already", ABC, {"line": "b"}, ABC),
    ("there already, though at another place than asked for", ABC, {"line": "c", "before": "BOF"}, ABC),
    ("the last match is replaced", "x1\nx2\n", {"line": "y", "expression": "^x"}, "x1\ny\n"),
    ("the first match is replaced", "x1\nx2\n", {"line": "y", "expression": "^x", "first": True}, "y\nx2\n"),
    ("a match that is the line already", "x1\ny\n", {"line": "y", "expression": "y"}, "x1\ny\n"),
    ("no match, so added", ABC, {"line": "y", "expression": "^x"}, "a\nb\nc\ny\n"),
    ("no match, but there already", ABC, {"line": "b", "expression": "^x"}, ABC),
    ("a match at the end without newline gets one", "a\nx", {"line": "y", "expression": "x"}, "a\ny\n"),
    ("after a match", ABC, {"line": "d", "after": "^a"}, "a\nd\nb\nc\n"),
    ("after the last of several", "a\na\nb\n", {"line": "d", "after": "a"}, "a\na\nd\nb\n"),
    ("after the first of several", "a\na\nb\n", {"line": "d", "after": "a", "first": True}, "a\nd\na\nb\n"),
    ("after no match: at the end", ABC, {"line": "d", "after": "^x"}, "a\nb\nc\nd\n"),
    ("before a match", ABC, {"line": "d", "before": "^b"}, "a\nd\nb\nc\n"),
    ("before no match: at the end", ABC, {"line": "d", "before": "^x"}, "a\nb\nc\nd\n"),
    ("at the beginning", ABC, {"line": "d", "before": "BOF"}, "d\na\nb\nc\n"),
    ("a match counts more than a place", ABC, {"line": "d", "expression": "c", "before": "BOF"}, "a\nb\nd\n"),
    ("groups are filled in", "k = 1\n", {"line": r"\1 = 2", "expression": r"^(\w+) = ", "backrefs": True}, "k = 2\n"),
    ("no match, so no groups and no line", ABC, {"line": r"\1", "expression": "(x)", "backrefs": True}, ABC),
    ("a backslash is a backslash without backrefs", ABC, {"line": r"\1", "expression": "b"}, "a\n\\1\nc\n"),
    ("carriage returns stay", "a\r\nb\r\n", {"line": "c", "expression": "a"}, "c\r\nb\r\n"),
    ("carriage returns where all lines have them", "a\r\nb\r\n", {"line": "c"}, "a\r\nb\r\nc\r\n"),
]


@pytest.mark.parametrize(("text", "how", "after"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_a_line(text: str, how: dict[str, Any], after: str) -> None:
    place = Place(after=how.get("after"), before=how.get("before"), first=how.get("first", False))
    arguments = (how["line"], how.get("expression"), place)
    assert put_line(text, *arguments, backrefs=how.get("backrefs", False)) == after
    if not how.get("backrefs"):
        assert put_line(after, *arguments) == after or how.get("expression") is not None


@pytest.mark.parametrize(("text", "line", "expression", "after"), [
    (ABC, "b", None, "a\nc\n"),
    ("b\na\nb", "b", None, "a\n"),
    ("ab\nb\nc\n", None, "b", "c\n"),
    ("ab\nb\nc\n", "c", "^b", "ab\nc\n"),  # the expression counts, not the line
    (ABC, "bb", None, ABC),
])
def test_lines_that_go(text: str, line: str | None, expression: str | None, after: str) -> None:
    assert drop_lines(text, line, expression) == after


@pytest.mark.parametrize(("text", "block", "place", "after"), [
    (ABC, "x", Place(), ABC + "<\nx\n>\n"),
    ("a", "x\ny\n", Place(), "a\n<\nx\ny\n>\n"),
    ("", "x", Place(), "<\nx\n>\n"),
    (ABC, "x", Place(before="BOF"), "<\nx\n>\n" + ABC),
    (ABC, "x", Place(after="^a"), "a\n<\nx\n>\nb\nc\n"),
    (ABC, "x", Place(before="^c"), "a\nb\n<\nx\n>\nc\n"),
    (ABC, "x", Place(after="^z"), ABC + "<\nx\n>\n"),
    ("a\n<\nold\n>\nb\n", "x", Place(before="BOF"), "a\n<\nx\n>\nb\n"),
    ("a\n>\nold\n<\nb\n", "x", Place(), "a\n<\nx\n>\nb\n"),
    ("a\n<\nold\n>\nb\n", "", Place(), "a\nb\n"),
    (ABC, "", Place(), ABC),
    ("a\n<\nhalf\n", "x", Place(), "a\n<\nhalf\n<\nx\n>\n"),
])
def test_a_block(text: str, block: str, place: Place, after: str) -> None:
    assert put_block(text, block, "<", ">", place) == after
