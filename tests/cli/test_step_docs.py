"""What `ultraplan steps` says comes from the step types, and the committed page is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import ROOT, Program
from ultraplan.cli.views.step_docs import describe, kind_of, markdown
from ultraplan.steps.registry import registry

PAGE = ROOT / "docs" / "reference" / "steps.md"


def test_the_reference_page_is_up_to_date() -> None:
    wanted = markdown([describe(step) for step in registry().values()])
    assert PAGE.read_text() == wanted, "write it anew: ultraplan steps --markdown > docs/reference/steps.md"


@pytest.mark.parametrize("name", list(registry()))
def test_each_type_says_what_it_is_for_and_shows_an_example(name: str) -> None:
    told = describe(registry()[name])
    assert told["summary"]
    assert f"{name}:" in told["example"]
    assert all(one["description"] for one in told["parameters"]), told["parameters"]


@pytest.mark.parametrize(("schema", "words"), [
    ({"type": "string"}, "string"),
    ({"enum": ["file", "folder"]}, '"file" or "folder"'),
    ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or none"),
    ({"type": "object", "additionalProperties": {"type": "string"}}, "mapping of string"),
])
def test_a_schema_in_words(schema: dict[str, object], words: str) -> None:
    assert kind_of(schema) == words


def test_one_type_with_everything_about_it(up: Program, tmp_path: Path) -> None:
    told = up("steps", "file").stdout
    assert "path (string, required)" in told
    assert "way back: undone by itself" in told
    assert "steps.ID.outputs.sha256" in told
    (described,) = up.json("steps", "file")["steps"]
    (tmp_path / "example.yaml").write_text(
        f"plan: example\nhosts: all\ninputs: {{root: {{type: string}}}}\nsteps:\n{described['example']}")
    up("validate", "example.yaml", "-e", "root=/tmp/x")
