"""The JSON schema (2020-12) of a plan file, made from the step types: what the loader validates by, and what an
editor's YAML server completes and explains by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ultraplan.language.values import DURATION_PATTERN, PERCENT_PATTERN

ID_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Step ids."""

INPUT_PATTERN = "^[A-Za-z_][A-Za-z0-9_-]*$"
"""Names of inputs."""

NAME_PATTERN = "^[A-Za-z_][A-Za-z0-9_]*$"
"""Names of variables, as expressions write them."""

CONSTRUCTS = ("block", "include")
"""What may stand in a step in place of a step type."""

INPUT_TYPES = ("string", "integer", "number", "boolean", "duration", "size", "list", "map")


class StepTypeInfo(Protocol):
    """What the language has to know of a step type (`ultraplan.steps.base.StepType` fits)."""

    @property
    def summary(self) -> str:
        """One line on what it does."""

    @property
    def shorthand(self) -> str | None:
        """The parameter that a bare value stands for."""

    @property
    def raw_params(self) -> frozenset[str]:
        """The parameters that hold expressions without braces."""

    def way_back_of(self, raw: Mapping[str, Any]) -> str:
        """``reversible``, ``read-only`` or ``declared``."""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """Static mistakes that the schema cannot find, as (path below the parameters, message)."""


SchemaOf = Callable[[Any], Mapping[str, Any]]
"""From a step type to the JSON schema of its parameters."""

_DURATION = {"type": "string", "pattern": DURATION_PATTERN}
_EXPRESSION = {"type": "string", "minLength": 1}
_SECRET = {"type": "object", "properties": {"secret": {"type": "string", "minLength": 1}}, "required": ["secret"],
           "additionalProperties": False, "description": "A secret by reference: {secret: env:NAME}"}


def _duration(description: str, default: str | None = None) -> dict[str, Any]:
    return {**_DURATION, "description": description, **({} if default is None else {"default": default})}


_BECOME = {
    "description": "Run as another account: true for root by sudo, or {user, method}.",
    "anyOf": [
        {"type": "boolean"},
        {"type": "object", "additionalProperties": False, "properties": {
            "user": {"type": "string", "minLength": 1, "default": "root", "description": "The account to become."},
            "method": {"enum": ["sudo"], "default": "sudo", "description": "The program that changes the account."},
        }},
    ],
}
_ENVIRONMENT = {
    "description": "Environment variables of the programs that run; the values may be templates or secrets.",
    "type": "object", "propertyNames": {"pattern": NAME_PATTERN},
    "additionalProperties": {"anyOf": [{"type": ["string", "number", "boolean"]}, _SECRET]},
}
_VARS = {
    "description": "Variables, used as vars.NAME and rendered when they are used.",
    "type": "object", "propertyNames": {"pattern": NAME_PATTERN},
}
_ON_FAILURE = {
    "description": "What a failure means: go back (rollback), stop and leave things as they are, or continue.",
    "enum": ["rollback", "stop", "continue"], "default": "rollback",
}
_FAILURE_BUDGET = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 100},
                             {"type": "string", "pattern": PERCENT_PATTERN}], "default": 0}

_RUNNING: dict[str, Any] = {
    "name": {"type": "string", "description": "What people see in place of the id."},
    "retries": {"type": "integer", "minimum": 0, "maximum": 100_000, "default": 0,
                "description": "How often to try again after a failure (or until `until` holds)."},
    "delay": _duration("How long to wait between two tries.", "5s"),
    "until": {**_EXPRESSION, "description": "An expression, without braces, that must hold for the step to be done."},
    "timeout": _duration("How long one try may take."),
    "become": _BECOME,
    "environment": _ENVIRONMENT,
    "no_log": {"type": "boolean", "default": False,
               "description": "Keep what the step prints and changes out of every view and journal."},
    "vars": _VARS,
}
"""Keywords that a step and its undo share."""

_STEP: dict[str, Any] = {
    "id": {"type": "string", "pattern": ID_PATTERN, "maxLength": 100,
           "description": "The step's name in needs, expressions and the journal; unique in the file."},
    "needs": {"description": "What it waits for; without it, the step above. [] waits for nothing.",
              "anyOf": [{"type": "array", "items": {"type": "string", "minLength": 1}},
                        {"type": "string", "minLength": 1}]},
    "when": {"description": "An expression without braces, or a list of which all must hold.",
             "anyOf": [_EXPRESSION, {"type": "boolean"},
                       {"type": "array", "minItems": 1, "items": {"anyOf": [_EXPRESSION, {"type": "boolean"}]}}]},
    "loop": {"description": "A list, or an expression that gives one; each turn has `item` and `index`.",
             "anyOf": [{"type": "array"}, _EXPRESSION]},
    "tags": {"description": "Words to choose steps by.",
             "anyOf": [{"type": "array", "items": {"type": "string", "minLength": 1}},
                       {"type": "string", "minLength": 1}]},
    "run_once": {"type": "boolean", "default": False, "description": "Run on the first host only, for all."},
    "undo": {"$ref": "#/$defs/undo"},
    "reads_only": {"type": "boolean", "default": False, "description": "The author's word that it changes nothing."},
    "irreversible": {"type": "string", "pattern": r"\S",
                     "description": "Why there is no way back. After this step a failure goes forward only."},
    "on_failure": _ON_FAILURE,
    "confirm": _duration("Undone by the host itself unless a new connection confirms it within this time."),
    **_RUNNING,
}

_CONSTRUCTS: dict[str, Any] = {
    "block": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"},
              "description": "Steps that share keywords, a rescue and an always."},
    "rescue": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"},
               "description": "Steps that run where one of the block has failed."},
    "always": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"},
               "description": "Steps that run after the block, whatever came of it."},
    "include": {
        "description": "The steps of another plan file, with inputs of their own.", "type": "object",
        "required": ["plan"], "additionalProperties": False,
        "properties": {
            "plan": {"type": "string", "minLength": 1, "description": "The plan file, relative to this one."},
            "inputs": {"type": "object", "description": "Its inputs; the values may be templates."},
            "vars": _VARS,
        }},
}

_INPUT = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "type": {"enum": list(INPUT_TYPES), "default": "string", "description": "What the value is."},
        "description": {"type": "string", "description": "What it is for."},
        "required": {"type": "boolean", "description": "Whether it must be given; true unless it has a default."},
        "default": {"description": "The value where none is given."},
        "choices": {"type": "array", "minItems": 1, "description": "The only values it may have."},
        "pattern": {"type": "string", "description": "A regular expression that the whole value must match."},
        "secret": {"type": "boolean", "default": False,
                   "description": "It is given by reference (env:NAME), never as a value."},
    },
}

_PLAN: dict[str, Any] = {
    "plan": {"type": "string", "minLength": 1, "description": "The plan's name."},
    "description": {"type": "string", "description": "What it is for, and when to run it."},
    "objectives": {
        "type": "object", "additionalProperties": False,
        "description": "What recovery has to achieve: the report compares them with what was measured.",
        "properties": {"rto": _duration("Recovery time objective: how long it may take."),
                       "rpo": _duration("Recovery point objective: how much data, in time, may be lost.")}},
    "inputs": {"type": "object", "propertyNames": {"pattern": INPUT_PATTERN},
               "additionalProperties": {"$ref": "#/$defs/input"},
               "description": "What the plan is given when it runs, used as inputs.NAME."},
    "vars": _VARS,
    "hosts": {"description": "A host pattern in Ansible's syntax: web:&prod:!drained, or a list.", "default": "all",
              "anyOf": [{"type": "string", "minLength": 1},
                        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}]},
    "serial": {
        "description": "Batch sizes: a number of hosts or a percent, or a list whose last repeats.",
        "anyOf": [{"$ref": "#/$defs/batch"}, {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/batch"}}]},
    "strategy": {"enum": ["linear", "free"], "default": "linear",
                 "description": "linear: a barrier between two steps over several hosts. free: each host runs ahead."},
    "max_fail_percentage": {**_FAILURE_BUDGET, "description": "Stop when more hosts of a batch than this have failed."},
    "max_unreachable_percentage": {**_FAILURE_BUDGET,
                                   "description": "Stop when more hosts of a batch than this are unreachable."},
    "rollback": {"type": "object", "additionalProperties": False,
                 "description": "How an automatic rollback works.",
                 "properties": {"scope": {"enum": ["run", "batch", "host"], "default": "run",
                                          "description": "How far it reaches."}}},
    "on_failure": _ON_FAILURE,
    "become": _BECOME,
    "environment": _ENVIRONMENT,
    "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"},
              "description": "The steps. One without needs waits for the one above it."},
}

KEYWORDS = frozenset(_STEP) | {"rescue", "always"}
"""What a step may have beside its type."""


def plan_schema(step_types: Mapping[str, StepTypeInfo], schema_of: SchemaOf) -> dict[str, Any]:
    """The JSON schema of plan files with ``step_types``; ``schema_of`` gives each type's parameters."""
    frame = plan_frame(step_types)
    types = {f"{TYPE}{name}": type_schema(kind, schema_of(kind)) for name, kind in step_types.items()}
    return {**frame, "$defs": {**frame["$defs"], **types}}


TYPE = "type-"
"""How the names of definitions begin that are step types."""


def plan_frame(names: Iterable[str]) -> dict[str, Any]:
    """The schema without the definitions of the step types, which have ``names``."""
    refs = {name: {"$ref": f"#/$defs/{TYPE}{name}"} for name in names}
    exactly_one = [{"required": [name]} for name in (*refs, *CONSTRUCTS)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An ultraplan plan",
        "description": "A recovery, backup or rollback procedure: previewed, journaled, undone by itself.",
        "type": "object",
        "required": ["plan", "steps"],
        "additionalProperties": False,
        "properties": _PLAN,
        "$defs": {
            "step": {"type": "object", "description": "One step: an id, exactly one step type, and keywords.",
                     "required": ["id"], "additionalProperties": False,
                     "properties": {**_STEP, **_CONSTRUCTS, **refs}, "oneOf": exactly_one},
            "undo": {"type": "object", "additionalProperties": False,
                     "description": "The step that undoes this one; it runs when the run goes back.",
                     "properties": {**_RUNNING, **refs},
                     "oneOf": [{"required": [name]} for name in refs] or [{"required": ["undo"]}]},
            "input": _INPUT,
            "batch": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": PERCENT_PATTERN}]},
        },
    }


def type_schema(kind: StepTypeInfo, params: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what stands under a step type's key: its parameters, or the one that a bare value stands for."""
    summary = {"description": kind.summary}
    if kind.shorthand is None:
        return {**params, **summary}
    return {"anyOf": [{**params, **summary}, params["properties"][kind.shorthand]], **summary}
