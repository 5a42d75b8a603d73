"""What no schema can say: mistakes of meaning in a plan's data. Each check takes data of any shape."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ultraplan.language.errors import did_you_mean
from ultraplan.language.examining import check, references
from ultraplan.language.problems import Path, Problems
from ultraplan.language.schema import CONSTRUCTS, ID_PATTERN, INPUT_TYPES, KEYWORDS, StepTypeInfo

NAMES = ("inputs", "vars", "host", "groups", "facts", "steps", "run", "item", "index")
"""The names that expressions have."""

_ROLES = ("block", "rescue", "always")
_NOT_ON_CONSTRUCTS = ("undo", "reads_only", "irreversible", "until", "retries", "delay", "confirm")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:.")


class Checks:
    """The checks of one plan's data. ``schemes``: those that secret references may have."""

    def __init__(self, problems: Problems, types: Mapping[str, StepTypeInfo], schemes: Collection[str]) -> None:
        self._problems = problems
        self._types = types
        self._schemes = schemes
        self._ids: dict[str, Path] = {}
        self._inputs: Mapping[str, Any] = {}
        self._vars: Mapping[str, Any] = {}
        self._inputs_are_open = False
        self.references: set[str] = set()

    def run(self, data: Mapping[str, Any]) -> None:
        """Check all of ``data``; the mistakes are noted, the secret references collected."""
        self._inputs = _mapping(data.get("inputs"))
        self._inputs_are_open = not isinstance(data.get("inputs", {}), Mapping)
        self._vars = _mapping(data.get("vars"))
        for name, declared in self._inputs.items():
            self._input(name, _mapping(declared), ("inputs", name))
        for key in ("vars", "environment", "become"):
            self._templates(data.get(key), (key,))
        self._steps(data.get("steps"), ("steps",))

    def _steps(self, steps: Any, path: Path) -> None:
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if isinstance(step, Mapping):
                self._step(step, (*path, index))

    def _step(self, step: Mapping[str, Any], path: Path) -> None:
        self._id(step, path)
        types = [key for key in step if key in self._types or key in CONSTRUCTS]
        self._one_type(step, types, path)
        self._misplaced(step, types, path)
        self._conditions(step, path)
        for key in ("vars", "environment", "become", "loop", "include"):
            bare = key == "loop" and isinstance(step.get(key), str) and "{{" not in step[key]
            self._templates(step.get(key), (*path, key), bare=bare)
        for kind in types:
            if kind in self._types:
                self._params(kind, step[kind], (*path, kind))
        if len(types) == 1 and types[0] in self._types:
            self._way_back(step, types[0], path)
        self._undo(step.get("undo"), (*path, "undo"))
        for role in _ROLES:
            self._steps(step.get(role), (*path, role))

    def _id(self, step: Mapping[str, Any], path: Path) -> None:
        name = step.get("id")
        if not isinstance(name, str):
            return
        here = (*path, "id")
        if re.search(ID_PATTERN, name) and not re.fullmatch(ID_PATTERN[1:-1], name):
            self._problems.value("id", "a step id has one line", here)
        first = self._ids.setdefault(name, here)
        if first is not here:
            line = self._problems.source.at(first).line
            self._problems.value("duplicate-id", f"the id '{name}' is taken by the step on line {line}", here,
                                 "ids name steps in needs, expressions and the journal: each needs its own")
        needs = step.get("needs")
        for index, need in enumerate([needs] if isinstance(needs, str) else _list(needs)):
            if need == name:
                where = (*path, "needs") if isinstance(needs, str) else (*path, "needs", index)
                self._problems.value("needs-itself", f"the step '{name}' waits for itself", where)

    def _one_type(self, step: Mapping[str, Any], types: list[str], path: Path) -> None:
        what = "an undo" if path[-1:] == ("undo",) else "a step"
        for extra in types[1:]:
            self._problems.key("several-step-types", f"{what} has exactly one step type; this has '{types[0]}' and "
                               f"'{extra}'", (*path, extra), "make them two steps")
        stray = [key for key in step if key not in KEYWORDS and key not in types]
        if not types and not stray and not {"rescue", "always"} & set(step):
            self._problems.value("no-step-type", f"{what} has exactly one step type, and this has none", path,
                                 "add what it does: command, file, service, …")

    def _misplaced(self, step: Mapping[str, Any], types: list[str], path: Path) -> None:
        for role in ("rescue", "always"):
            if role in step and "block" not in step:
                self._problems.key("no-block", f"'{role}' belongs to a block, and there is none here", (*path, role),
                                   "put the steps that it is for into block: [ … ]")
        construct = next((kind for kind in types if kind in CONSTRUCTS), None)
        if construct is not None:
            for key in _NOT_ON_CONSTRUCTS:
                if key in step:
                    self._problems.key("misplaced", f"'{key}' belongs to the steps in the {construct}, not to the "
                                       f"{construct}", (*path, key))
        if "loop" in step and construct == "block":
            self._problems.key("misplaced", "a block cannot loop", (*path, "loop"), "give each of its steps the loop, "
                               "or include a plan in a loop")
        if isinstance(step.get("loop"), Mapping):
            self._problems.value("loop", "a loop goes over a list, not over a mapping", (*path, "loop"),
                                 'write loop: "{{ vars.NAME | dictsort }}"; each item is [key, value]')

    def _conditions(self, step: Mapping[str, Any], path: Path) -> None:
        self._templates(step.get("when"), (*path, "when"), bare=True)
        self._templates(step.get("until"), (*path, "until"), bare=True)

    def _params(self, kind: str, params: Any, path: Path) -> None:
        step_type = self._types[kind]
        for name, value, where in _each_param(params, step_type, path):
            self._templates(value, where, bare=name in step_type.raw_params)
        raw = _long_form(params, step_type)
        if raw is None:
            return
        for below, message in step_type.check(raw):
            if not isinstance(params, Mapping):
                below = below[1:]
            self._problems.value("step-params", message, (*path, *below))

    def _way_back(self, step: Mapping[str, Any], kind: str, path: Path) -> None:
        """Every step has a way back, or says that it has none."""
        raw = _long_form(step[kind], self._types[kind])
        if raw is None:
            return
        way = self._types[kind].way_back_of(raw)
        reads_only = step.get("reads_only") is True
        undo, irreversible = "undo" in step, "irreversible" in step
        if way == "declared" and not (undo or reads_only or irreversible):
            self._problems.key("no-way-back", f"nothing says how to undo this {kind}", (*path, kind),
                               "add undo: {…}, or reads_only: true if it changes nothing, or irreversible: why")
        if undo and (way == "read-only" or reads_only):
            why = "reads_only says so" if reads_only else f"{kind} is read-only"
            self._problems.key("undo-of-nothing", f"there is nothing to undo: {why}", (*path, "undo"), "remove it")
        if irreversible and (undo or reads_only or way == "read-only"):
            against = "it has an undo" if undo else "it changes nothing"
            self._problems.key("irreversible", f"this cannot be irreversible: {against}", (*path, "irreversible"),
                               "remove one of the two")

    def _undo(self, undo: Any, path: Path) -> None:
        if not isinstance(undo, Mapping):
            return
        types = [key for key in undo if key in self._types]
        self._one_type(undo, types, path)
        self._templates(undo.get("until"), (*path, "until"), bare=True)
        for key in ("vars", "environment", "become"):
            self._templates(undo.get(key), (*path, key))
        for kind in types:
            self._params(kind, undo[kind], (*path, kind))

    def _input(self, name: str, declared: Mapping[str, Any], path: Path) -> None:
        from ultraplan.language.inputs import typed

        pattern = declared.get("pattern")
        if isinstance(pattern, str):
            try:
                re.compile(pattern)
            except re.error as error:
                self._problems.value("pattern", f"this is not a regular expression: {error}", (*path, "pattern"))
                pattern = None
        kind = declared.get("type", "string")
        if kind not in INPUT_TYPES:
            return
        secret = declared.get("secret") is True
        if secret and kind != "string":
            self._problems.value("input", "a secret input is a string", (*path, "type"))
            return
        default = declared.get("default")
        if isinstance(default, Mapping) and set(default) == {"secret"}:
            self._secret(default, (*path, "default"))
            return
        if secret and isinstance(default, str):
            self._problems.at("plain-secret", f"the default of the secret input '{name}' is a plain value",
                              self._problems.source.at((*path, "default")), "write default: {secret: env:NAME}")
            return
        wanted = [("default",)] if "default" in declared else []
        choices = declared.get("choices")
        wanted += [("choices", index) for index in range(len(_list(choices)))]  # type: ignore[misc]
        for below in wanted:
            value = declared["default"] if below == ("default",) else _list(choices)[below[1]]  # type: ignore[misc]
            try:
                right = typed(kind, value)
                if below == ("default",) and choices and right not in [typed(kind, one) for one in choices]:
                    raise ValueError(f"{value!r} is not one of the choices")
                if isinstance(pattern, str) and isinstance(right, str) and not re.fullmatch(pattern, right):
                    raise ValueError(f"{value!r} does not fit the pattern")
            except ValueError as error:
                self._problems.value("input", f"the {below[0]} of '{name}' does not fit: {error}", (*path, *below))
        if "default" in declared and declared.get("required") is True:
            self._problems.key("input", f"'{name}' has a default, so it cannot be required", (*path, "required"))

    def _templates(self, value: Any, path: Path, *, bare: bool = False) -> None:
        """Syntax, names and secrets of what may hold expressions."""
        for below, reference in _secrets(value):
            self._secret(reference, (*path, *below))
        faults = check(value, bare=bare)
        for fault in faults:
            at = self._problems.source.within((*path, *fault.path), fault.line, fault.column)
            self._problems.at("expression", fault.message, at)
        for below, text in _strings(value):
            for used in sorted(references(text, bare=bare, needed=True)):
                self._name(used, text, (*path, *below))

    def _name(self, used: tuple[str, ...], text: str, path: Path) -> None:
        found = name_mistake(used, self._inputs, self._vars)
        if found is None or (used[0] == "inputs" and self._inputs_are_open):
            return
        message, hint = found
        shown = message.split("'")[1]
        self._unknown(shown, text, shown.rpartition(".")[2], path, hint)

    def _unknown(self, shown: str, text: str, word: str, path: Path, hint: str | None) -> None:
        match = re.search(rf"(?<![\w.]){re.escape(shown)}(?!\w)", text) or re.search(rf"\b{re.escape(word)}\b", text)
        start = match.start() if match else 0
        before = text[:start]
        at = self._problems.source.within(path, before.count("\n") + 1, start - (before.rfind("\n") + 1) + 1)
        self._problems.at("unknown-name", f"'{shown}' is not defined", at, hint)

    def _secret(self, value: Mapping[str, Any], path: Path) -> None:
        reference, here = value["secret"], (*path, "secret")
        at = self._problems.source.at(here)
        if not isinstance(reference, str):
            self._problems.at("secret", "a secret is text: a reference", at, "write {secret: env:NAME}")
        elif "{{" in reference or "{%" in reference:
            self._problems.at("secret", "a reference to a secret is fixed text; it cannot hold a template", at)
        elif not _SCHEME.match(reference):
            self._problems.at("plain-secret", "this looks like the secret itself, not like a reference to it", at,
                              "write {secret: env:NAME} or {secret: file:PATH}; and change the secret if this file "
                              "was ever shared")
        else:
            scheme = reference.partition(":")[0]
            if scheme not in self._schemes:
                self._problems.at("secret-scheme", f"there is no place '{scheme}' to take secrets from", at,
                                  did_you_mean(scheme, self._schemes)
                                  or f"there are: {', '.join(sorted(self._schemes))}")
            self.references.add(reference)


def name_mistake(
    used: tuple[str, ...], inputs: Mapping[str, Any], variables: Mapping[str, Any],
) -> tuple[str, str | None] | None:
    """What is wrong with the name ``used``, and a hint, as far as a plan's ``inputs`` and ``variables`` can tell."""
    if not used:
        return None
    root = used[0]
    if root not in NAMES:
        if any(one.endswith(f"-{root}") for one in inputs):
            return None  # the rest of inputs.some-name, which is reported
        hint = f"did you mean 'inputs.{root}'?" if root in inputs else \
               f"did you mean 'vars.{root}'?" if root in variables else did_you_mean(root, NAMES)
        return f"'{root}' is not defined", hint or f"variables are vars.NAME; there are {', '.join(NAMES)}"
    if root != "inputs" or len(used) == 1 or used[1] in inputs:
        return None
    dashed = next((one for one in inputs if one.startswith(f"{used[1]}-")), None)
    hint = did_you_mean(used[1], inputs) or ("declare it under 'inputs'" if dashed is None else None)
    if dashed is not None:
        hint = f"write inputs['{dashed}']: a dash is a minus sign"
    return f"'inputs.{used[1]}' is not defined", hint


def _long_form(params: Any, step_type: StepTypeInfo) -> Mapping[str, Any] | None:
    if isinstance(params, Mapping):
        return params
    return None if step_type.shorthand is None else {step_type.shorthand: params}


def _each_param(params: Any, step_type: StepTypeInfo, path: Path) -> Iterator[tuple[str, Any, Path]]:
    if isinstance(params, Mapping) and set(params) != {"secret"}:
        yield from ((name, value, (*path, name)) for name, value in params.items())
    else:
        yield step_type.shorthand or "", params, path


def _secrets(value: Any) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if set(value) == {"secret"}:
            yield (), value
        else:
            for key, one in value.items():
                yield from (((key, *below), found) for below, found in _secrets(one))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from (((index, *below), found) for below, found in _secrets(one))


def _strings(value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield (), value
    elif isinstance(value, Mapping):
        if set(value) != {"secret"}:
            for key, one in value.items():
                yield from (((key, *below), found) for below, found in _strings(one))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from (((index, *below), found) for below, found in _strings(one))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
