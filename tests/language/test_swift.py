"""The quick validator and the reference say the same: of plans that are right, wrong in every way of the corpus, and
changed at random; and of schemas made at random."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ultraplan.language.schema import plan_schema
from ultraplan.language.source import read_yaml
from ultraplan.language.swift import Swift
from ultraplan.steps.params import schema
from ultraplan.steps.registry import registry

ROOT = Path(__file__).parents[2]
SCHEMA = plan_schema(registry(), schema)
REFERENCE = Draft202012Validator(SCHEMA)
SWIFT = Swift(SCHEMA, SCHEMA["$defs"].__getitem__)

PLANS = sorted([*ROOT.glob("plans/**/*.yaml"), *ROOT.glob("examples/**/*.yaml"),
                *ROOT.glob("tests/language/malformed/*.yaml")])
DATA = [data for file in PLANS if (data := read_yaml(file.read_text(errors="replace"), "x").data) is not None]

ODD = st.sampled_from([None, True, False, 0, 1, -1, 1.0, 2.5, "", "x", "0640", "5s", "10%", "{{ x }}", [], {}, [1],
                       ["x"],
                       {"secret": "env:X"}, {"secret": 1}, {"x": 1}, 10**9, "\n", "/x", [[]], [None]])


KEYS = st.sampled_from(["file", "include", "block", "undo", "id", "when", "x y", "", "steps", "mode"])
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", ["string", "integer"],
                         ["null", "object"]])
WORDS = st.lists(st.sampled_from([1, True, 0, False, 1.0, "a", None]), min_size=1)


def test_there_are_plans_to_compare() -> None:
    assert len(DATA) > 60
    assert any(SWIFT.valid(data) for data in DATA)


@pytest.mark.parametrize("file", PLANS, ids=lambda file: str(file.relative_to(ROOT)))
def test_both_say_the_same_of_plans(file: Path) -> None:
    data = read_yaml(file.read_text(errors="replace"), "x").data
    assert SWIFT.valid(data) is REFERENCE.is_valid(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in ``value``."""
    found = [path]
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(one, (*path, key))
    return found


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_both_say_the_same_of_plans_changed_at_random(data: st.DataObject) -> None:
    plan = copy.deepcopy(data.draw(st.sampled_from([one for one in DATA if isinstance(one, dict)])))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(plan)))
        if not path:
            continue
        holder = plan
        for part in path[:-1]:
            holder = holder[part]
        match data.draw(st.sampled_from(["replace", "remove", "add", "rename"])):
            case "replace":
                holder[path[-1]] = copy.deepcopy(data.draw(ODD))
            case "remove":
                del holder[path[-1]]
            case "add" if isinstance(holder, dict):
                holder[data.draw(KEYS)] = copy.deepcopy(data.draw(ODD))
            case "rename" if isinstance(holder, dict):
                holder[f"{path[-1]}x"] = holder.pop(path[-1])
    assert SWIFT.valid(plan) is REFERENCE.is_valid(plan)


def _schemas() -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "c"])
    leaf = st.one_of(
        st.builds(lambda one: {"type": one}, TYPES), st.builds(lambda words: {"enum": words}, WORDS),
        st.builds(lambda word: {"const": word}, st.sampled_from([1, True, 0, "a", None, 2.5])),
        st.builds(lambda key, bound: {key: bound}, st.sampled_from(
            ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minimum", "maximum",
             "exclusiveMinimum", "exclusiveMaximum"]), st.integers(0, 2)),
        st.just({"pattern": "^a+$"}), st.builds(lambda one: {"required": one}, st.lists(names, max_size=2)),
        st.booleans())
    return st.recursive(leaf, lambda inner: st.one_of(
        st.builds(lambda key, many: {key: many}, st.sampled_from(["anyOf", "oneOf", "allOf"]),
                  st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"items": one}, inner), st.builds(lambda one: {"propertyNames": one}, inner),
        st.builds(lambda known, other: {"properties": known, "additionalProperties": other},
                  st.dictionaries(names, inner, max_size=2), inner),
        st.builds(lambda one: {"additionalProperties": one}, inner),
        st.builds(lambda one, two: {**(one if isinstance(one, dict) else {}), **(two if isinstance(two, dict) else {})},
                  inner, inner)), max_leaves=5)


VALUES = st.recursive(ODD, lambda inner: st.one_of(
    st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "b", "aa"]), inner, max_size=2)), max_leaves=4)


@given(_schemas(), VALUES)
@settings(max_examples=500, deadline=None)
def test_both_say_the_same_of_any_schema(shape: Any, value: Any) -> None:
    wanted = {"$defs": {"one": shape}, "$ref": "#/$defs/one"}
    assert Swift(wanted, wanted["$defs"].__getitem__).valid(value) is Draft202012Validator(wanted).is_valid(value)


@pytest.mark.parametrize("wanted", [{"not": {}}, {"prefixItems": [{}]},
                                    {"patternProperties": {"a": {}}, "properties": {}}, {"enum": [[1]]},
                                    {"$ref": "other.json"}])
def test_what_it_does_not_know_is_left_to_the_reference(wanted: Any) -> None:
    assert Swift(wanted, {}.__getitem__).valid({"a": 1}) is None


def test_the_library_has_nothing_that_is_left_to_the_reference() -> None:
    for name, kind in registry().items():
        assert yaml.safe_load(kind.example)
        body = yaml.safe_load(kind.example)
        steps = body if isinstance(body, list) else [body]
        assert SWIFT.valid({"plan": "p", "steps": steps}) is not None, name
