"""What an expression gave becomes a parameter: its type is kept, and text is made of it only where any text will do."""

from __future__ import annotations

from typing import Any

import pytest

from ultraplan.steps.params import BadParams, build
from ultraplan.steps.registry import registry


def built(step: str, **rendered: Any) -> Any:
    return build(registry()[step], rendered, lambda kind, name: name)


@pytest.mark.parametrize(("step", "rendered", "name", "wanted"), [
    ("command", {"argv": ["test", 8, "-le", 4.5, True]}, "argv", ("test", "8", "-le", "4.5", "true")),
    ("command", {"run": 8}, "run", "8"),
    ("file", {"path": "/x", "content": 8080}, "content", "8080"),
    ("file", {"path": "/x", "content": False}, "content", "false"),
    ("http", {"url": "http://h/", "headers": {"X-Port": 8080}}, "headers", {"X-Port": "8080"}),
    ("http", {"url": "http://h/", "status": 204}, "status", 204),
    ("http", {"url": "http://h/", "json_body": {"port": 8080}}, "json_body", {"port": 8080}),
    ("http", {"url": "http://h/", "json": {"port": 8080, "up": True}}, "json", {"port": 8080, "up": True}),
])
def test_numbers_become_text_only_where_any_text_will_do(
        step: str, rendered: dict[str, Any], name: str, wanted: Any) -> None:
    found = getattr(built(step, **rendered), name)
    assert (tuple(found) if isinstance(found, list) else found) == wanted


@pytest.mark.parametrize(("step", "rendered", "where"), [
    ("file", {"path": "/x", "content": "", "mode": 640}, ("mode",)),
    ("file", {"path": 8, "content": ""}, ("path",)),
    ("file", {"path": "/x", "content": ["a"]}, ("content",)),
    ("command", {"argv": ["test", {"a": 1}]}, ("argv", 1)),
    ("command", {"argv": ["test", None]}, ("argv", 1)),
])
def test_what_is_no_such_text_is_refused_with_its_place(
        step: str, rendered: dict[str, Any], where: tuple[str | int, ...]) -> None:
    with pytest.raises(BadParams) as refused:
        built(step, **rendered)
    assert refused.value.path == where


def test_facts_keep_their_types() -> None:
    assert build(registry()["set_fact"], {"port": 8080, "up": True}, lambda kind, name: name) == {
        "port": 8080, "up": True}
