"""Plans and what they compile to, or what is said of them: a case is a plan's text and the expected nodes or errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.graph.world import compile_text
from ultraplan.language.errors import SourceError

_CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text(encoding="utf-8"))
]
_OPTIONS = ("files", "inputs", "limit", "tags", "skip_tags")


@pytest.mark.parametrize("case", _CASES)
def test_a_plan_compiles_to_what_its_case_says(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in _OPTIONS if key in case}
    if "errors" in case:
        with pytest.raises(SourceError) as refused:
            compile_text(case["plan"], **options)
        said = [f"{one.at or '-'}: {one.code}: {one.message}" + (f" = {one.hint}" if one.hint else "")
                for one in refused.value.diagnostics]
        assert said == case["errors"]
        return
    graph = compile_text(case["plan"], **options)
    for key, wanted in case.items():
        match key:
            case "nodes":
                assert {node.id: " ".join(node.needs) for node in graph.nodes.values()} == {
                    name: needs or "" for name, needs in wanted.items()}
                assert list(graph.nodes) == list(wanted), "the order"
            case "reads":
                found = {node.id: " ".join(sorted(node.reads)) for node in graph.nodes.values() if node.reads}
                assert found == wanted
            case "hosts":
                assert {node.id: " ".join(node.hosts) for node in graph.nodes.values()} == wanted
            case "batches":
                assert [" ".join(batch) for batch in graph.batches] == wanted
            case "aliases":
                assert {name: " ".join(ids) for name, ids in graph.aliases.items()} == wanted
            case "attributes":
                for name, attributes in wanted.items():
                    assert {one: _plain(graph.nodes[name], one) for one in attributes} == attributes, name
            case _:
                assert key in ("name", "plan", *_OPTIONS)


def _plain(node: Any, path: str) -> Any:
    value = node
    for part in path.split("."):
        value = getattr(value, part)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [f"{one.block}.{one.role}" if hasattr(one, "role") else one for one in value]
    return value
