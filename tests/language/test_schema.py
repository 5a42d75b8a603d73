"""The plan schema: valid, complete for editors, and published as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.language.test_plan import EVERYTHING
from tests.language.types import LANGUAGE, TYPES
from ultraplan.language.document import Document, Step
from ultraplan.language.schema import KEYWORDS

SCHEMA = LANGUAGE.schema()


def test_it_is_a_valid_schema_and_accepts_a_plan_with_every_keyword() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(EVERYTHING))


def test_an_editor_can_complete_every_step_type_with_its_parameters() -> None:
    step = SCHEMA["$defs"]["step"]["properties"]
    for name, kind in TYPES.items():
        assert step[name] == {"$ref": f"#/$defs/type-{name}"}
        described = SCHEMA["$defs"][f"type-{name}"]
        assert described["description"] == kind.summary
        params = described["anyOf"][0] if kind.shorthand else described
        assert set(params["properties"]) == set(kind.Params.__dataclass_fields__)
        assert params["additionalProperties"] is False


def properties(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, dict):
        for name, one in (node.get("properties") or {}).items():
            yield (*path, name), one
            yield from properties(one, (*path, name))


def test_every_keyword_has_hover_text() -> None:
    for root in (SCHEMA, SCHEMA["$defs"]["step"], SCHEMA["$defs"]["undo"], SCHEMA["$defs"]["input"]):
        for path, one in properties(root):
            assert "$ref" in one or one.get("description"), path


def test_the_schema_and_the_document_have_the_same_keywords() -> None:
    ours = {"origin", "type", "params", "children"}
    assert set(Step.__dataclass_fields__) - ours == KEYWORDS - {"rescue", "always"}
    renamed = {"name": "plan", "rollback_scope": "rollback"}
    ours = {"path", "origin", "references", "mistakes", "doubts"}
    fields = {renamed.get(name, name) for name in Document.__dataclass_fields__} - ours
    assert fields == set(SCHEMA["properties"])


@pytest.mark.parametrize("text", [
    "plan: p\nsteps: [{id: a}]", "plan: p\nsteps: [{id: a, file: {path: /x}, command: x}]",
    "plan: p\nsteps: [{id: a, command: x, undo: {}}]", "plan: p\nsteps: [{id: a, file: {pth: /x}}]",
    "plan: p\nsteps: [{id: a, rescue: [{id: b, file: {path: /x}}]}]", "steps: []",
    "plan: p\nsteps: [{file: {path: /x}}]",
    "plan: p\nsteps: [{id: a, file: {path: /x}, delay: 5}]", "plan: p\nsteps: [{id: a, file: {path: /x, mode: 640}}]",
])
def test_an_editor_sees_the_common_mistakes_too(text: str) -> None:
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(text)))


def test_the_published_schema_is_the_one_of_the_step_library() -> None:
    from ultraplan.cli.schemas import NAME, published

    assert (Path(__file__).parents[2] / "schemas" / NAME).read_text() == published(), "run: make schemas"
