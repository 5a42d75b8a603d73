"""A step type for people and programs, from its parameters' schema: the one source of its documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ultraplan.cli.views.paint import paint
from ultraplan.steps.base import HostStep, StepType, WayBack
from ultraplan.steps.params import plain_schema

WAYS = {
    WayBack.REVERSIBLE: "undone by itself",
    WayBack.READ_ONLY: "changes nothing",
    WayBack.DECLARED: "the plan says it: undo, reads_only or irreversible",
}


def describe(step: StepType[Any]) -> dict[str, Any]:
    """Everything about a step type, as data."""
    schema = plain_schema(step)
    required = schema.get("required", [])
    return {
        "name": step.name, "summary": step.summary, "way_back": WAYS[step.way_back],
        "runs": "on the host" if isinstance(step, HostStep) else "on the controller",
        "shorthand": step.shorthand,
        "parameters": [
            {"name": name, "type": kind_of(rule), "required": name in required, "default": rule.get("default"),
             "description": rule.get("description", "")}
            for name, rule in schema.get("properties", {}).items()],
        "free": "properties" not in schema,
        "outputs": dict(step.outputs_doc), "example": step.example,
    }


def kind_of(rule: Mapping[str, Any]) -> str:
    """A schema in a few words: ``string``, ``"file" or "folder"``, ``list of string``."""
    if "enum" in rule:
        return " or ".join(json.dumps(value) for value in rule["enum"])
    if "const" in rule:
        return json.dumps(rule["const"])
    if "anyOf" in rule:
        return " or ".join(dict.fromkeys(kind_of(each) for each in rule["anyOf"]))
    kind = rule.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {kind_of(rule.get('items', {}))}"
    if kind == "object" and isinstance(rule.get("additionalProperties"), dict):
        return f"mapping of {kind_of(rule['additionalProperties'])}"
    return {"object": "mapping", "null": "none"}.get(str(kind), str(kind))


def text(told: Mapping[str, Any], *, color: bool) -> str:
    """One step type for a terminal."""
    rows = [f"{paint(told['name'], 'bold', color)}: {told['summary']}",
            f"runs {told['runs']}; way back: {told['way_back']}", "", paint("parameters", "bold", color)]
    if told["free"]:
        rows.append("  any names, with any values")
    for one in told["parameters"]:
        rows.append(f"  {one['name']} ({one['type']}{_extra(one)})")
        if one["description"]:
            rows.append(f"      {one['description']}")
    if told["shorthand"]:
        rows.append(f"  `{told['name']}: VALUE` is short for `{told['name']}: {{{told['shorthand']}: VALUE}}`")
    if told["outputs"]:
        rows += ["", paint("outputs", "bold", color)]
        rows += [f"  steps.ID.outputs.{name}: {what}" for name, what in told["outputs"].items()]
    rows += ["", paint("example", "bold", color), *(f"  {line}" for line in told["example"].splitlines())]
    return "\n".join(rows)


def markdown(all_told: Sequence[Mapping[str, Any]]) -> str:
    """The reference page of all step types."""
    rows = ["# Step types", "",
            "Written by `ultraplan steps --markdown` from the types themselves; every example here is run by a test. "
            "What all steps share (`needs`, `when`, `retries`, `undo` …) is in [the language](language.md).", "",
            "| step | what it is for | runs | way back |", "|---|---|---|---|"]
    rows += [f"| [{one['name']}](#{one['name']}) | {_cell(one['summary'])} | {one['runs']} | {one['way_back']} |"
             for one in all_told]
    for told in all_told:
        rows += ["", f"## {told['name']}", "", f"{told['summary']}. Runs {told['runs']}; way back: "
                 f"{told['way_back']}.", ""]
        if told["free"]:
            rows.append("Takes any names, with any values.")
        else:
            rows += ["| parameter | type | default | |", "|---|---|---|---|"]
            rows += [f"| `{one['name']}` | {_cell(one['type'])} | {_default(one)} | {_cell(one['description'])} |"
                     for one in told["parameters"]]
        if told["shorthand"]:
            rows += ["", f"`{told['name']}: VALUE` is short for `{told['name']}: {{{told['shorthand']}: VALUE}}`."]
        if told["outputs"]:
            rows += ["", "| output | |", "|---|---|"]
            rows += [f"| `{name}` | {_cell(what)} |" for name, what in told["outputs"].items()]
        rows += ["", "```yaml", told["example"].rstrip(), "```"]
    return "\n".join(rows) + "\n"


def _extra(one: Mapping[str, Any]) -> str:
    if one["required"]:
        return ", required"
    return f", default {_value(one['default'])}" if one["default"] is not None else ""


def _default(one: Mapping[str, Any]) -> str:
    if one["required"]:
        return "required"
    return f"`{_cell(_value(one['default']))}`" if one["default"] is not None else ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
