"""Reading plan files: text to `Document`, with every static mistake found at once."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ultraplan.language.document import Document, Input, OnFailure, Origin, Scope, Step, Strategy
from ultraplan.language.errors import Diagnostic, SourceError, without_echoes
from ultraplan.language.inputs import SCHEMES
from ultraplan.language.salvage import UNREADABLE
from ultraplan.language.schema import CONSTRUCTS, TYPE, SchemaOf, StepTypeInfo, plan_frame, plan_schema, type_schema
from ultraplan.language.source import decode, read_source, read_yaml
from ultraplan.language.swift import Swift
from ultraplan.language.values import Duration, parse_percent
from ultraplan.secrets import rooted
from ultraplan.shell import Account

Read = Callable[[str], bytes]
"""From a path to the bytes of the file there."""


class Language:
    """The language with a set of step types. ``schema_of`` gives the JSON schema of a step type's parameters
    (`ultraplan.steps.params.schema`); ``schemes`` are those that secret references may have."""

    def __init__(self, step_types: Mapping[str, StepTypeInfo], schema_of: SchemaOf,
                 schemes: Collection[str] = SCHEMES) -> None:
        self._types = step_types
        self._schema_of = schema_of
        self._schemes = schemes

    def schema(self) -> dict[str, Any]:
        """The JSON schema of plan files."""
        return plan_schema(self._types, self._schema_of)

    def load(self, path: str | Path, read: Read | None = None) -> Document:
        """The plan in the file at ``path``, which ``read`` gives if it is not on this disk. Raises `SourceError`."""
        return _faultless(self.examine(path, read))

    def parse(self, text: str, file: str) -> Document:
        """The plan that ``text`` writes; ``file`` is its name in positions. Raises `SourceError` with every mistake."""
        return _faultless(self._examined(text, file))

    def examine(self, path: str | Path, read: Read | None = None) -> Document:
        """As `load`, but what is wrong is among the document's ``mistakes``, so that more can be found elsewhere.

        Raises `SourceError` only where the mistakes leave no plan.
        """
        return self._examined(read_source(path) if read is None else decode(read(str(path)), str(path)), str(path))

    def _examined(self, text: str, file: str) -> Document:
        from ultraplan.language.checks import Checks
        from ultraplan.language.problems import Problems, SchemaProblems

        data, source, malformed = read_yaml(text, file)
        blanked: set[str] = set()
        if data is None and malformed:
            from ultraplan.language.recover import Recovered

            recovered = Recovered(text, file)
            (data, source, malformed), blanked = recovered.read, recovered.blanked
        if data is None and not malformed:
            raise SourceError([Diagnostic("empty-file", "this file is empty", source.at(()), None,
                                          "a plan has at least: plan: NAME and steps: [ … ]")])
        if data is None:
            raise SourceError(malformed)
        problems = Problems(source)
        reader = SchemaProblems(problems, self._types)
        if not self._swift.valid(data):
            for error in self._validator.iter_errors(data):
                reader.read(error)
        meaning = Problems(source)
        checks = Checks(meaning, self._types, self._schemes)
        if isinstance(data, dict):
            checks.run(data)
        if blanked:
            problems.forget(lambda path: not path or (path[0] in blanked and len(path) == 1))
        found = without_echoes(malformed, meaning.found, problems.found)
        references, folder = frozenset(checks.references), Path(os.path.abspath(file)).parent  # noqa: PTH100
        if not found:
            return _document(_rooted(data, references, folder), Origin(source, ()), file,
                             frozenset(rooted(one, folder) for one in references), self._types)
        from ultraplan.language.salvage import Salvage

        salvage = Salvage(data, self._validator, self._types, blanked)
        salvage.doubt([*problems.places, *meaning.places])
        mistakes = tuple(_without_secrets(found))
        if salvage.data is None:
            raise SourceError(mistakes)
        return replace(_document(salvage.data, Origin(source, ()), file, references, self._types),
                       mistakes=mistakes, doubts=frozenset(salvage.doubts))

    @cached_property
    def _swift(self) -> Swift:
        frame = plan_frame(self._types)

        def definition(name: str) -> Mapping[str, Any]:
            if not name.startswith(TYPE):
                return frame["$defs"][name]  # type: ignore[no-any-return]
            kind = self._types[name.removeprefix(TYPE)]
            return type_schema(kind, self._schema_of(kind))

        return Swift(frame, definition)

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(self.schema())


def _rooted(data: Any, references: frozenset[str], folder: Path) -> Any:
    """``data`` with each secret reference that names a file below ``folder`` written out."""
    if all(rooted(one, folder) == one for one in references):
        return data

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"secret"}:
                return {"secret": rooted(value["secret"], folder)}
            return {key: walk(one) for key, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return walk(data)


def _faultless(document: Document) -> Document:
    if document.mistakes:
        raise SourceError(document.mistakes)
    return document


def _without_secrets(found: list[Diagnostic]) -> Iterator[Diagnostic]:
    """``found``, where no line is shown that may hold a secret in plain text."""
    hidden = {one.at.line for one in found if one.at is not None and "secret" in one.code}
    for one in found:
        yield replace(one, line=None) if one.at is not None and one.at.line in hidden else one


def _document(data: Mapping[str, Any], origin: Origin, file: str, references: frozenset[str],
              types: Mapping[str, Any]) -> Document:
    on_failure = OnFailure(data.get("on_failure", "rollback"))
    hosts, serial = data.get("hosts", "all"), data.get("serial", [])
    return Document(
        name=data["plan"], path=file, origin=origin, description=data.get("description", ""),
        steps=tuple(_steps(data["steps"], origin.below("steps"), types, on_failure)),
        objectives={name: Duration.parse(text) for name, text in data.get("objectives", {}).items()},
        inputs={name: _input(name, one, origin.below("inputs", name)) for name, one in data.get("inputs", {}).items()},
        vars=data.get("vars", {}),
        hosts=hosts if isinstance(hosts, str) else ":".join(hosts),
        serial=tuple(serial) if isinstance(serial, list) else (serial,),
        strategy=Strategy(data.get("strategy", "linear")),
        max_fail_percentage=_percentage(data.get("max_fail_percentage", 0)),
        max_unreachable_percentage=_percentage(data.get("max_unreachable_percentage", 0)),
        rollback_scope=Scope(data.get("rollback", {}).get("scope", "run")),
        on_failure=on_failure,
        become=_become(data.get("become")),
        environment=data.get("environment", {}),
        references=references,
    )


def _input(name: str, data: Mapping[str, Any], origin: Origin) -> Input:
    choices = data.get("choices")
    default = data.get("default")
    return Input(
        name=name, type=data.get("type", "string"), origin=origin, description=data.get("description", ""),
        required=data.get("required", "default" not in data), default=default,
        choices=None if choices is None else tuple(choices), pattern=data.get("pattern"),
        secret=data.get("secret", False) or (isinstance(default, Mapping) and set(default) == {"secret"}),
    )


def _steps(data: list[Any], origin: Origin, types: Mapping[str, Any], on_failure: OnFailure) -> Iterator[Step]:
    for index, one in enumerate(data):
        yield _step(one, origin.below(index), one["id"], types, on_failure)


def _step(data: Mapping[str, Any], origin: Origin, name: str, types: Mapping[str, Any], on_failure: OnFailure) -> Step:
    """``on_failure``: what the block or plan around it says."""
    on_failure = OnFailure(data.get("on_failure", on_failure))
    kind = next((key for key in data if key in types or key in CONSTRUCTS), UNREADABLE)
    needs, tags = data.get("needs"), data.get("tags", [])
    undo = data.get("undo")
    optional = {key: Duration.parse(data[key]) for key in ("delay", "timeout", "confirm") if key in data}
    return Step(
        id=name, type=kind, params=data.get(kind), origin=origin, name=data.get("name"),
        needs=None if needs is None else (needs,) if isinstance(needs, str) else tuple(needs),
        when=tuple(_conditions(data.get("when", []))),
        loop=data.get("loop"), retries=data.get("retries", 0), until=data.get("until"),
        tags=tuple(re.split(r"\s*,\s*", tags.strip())) if isinstance(tags, str) else tuple(tags),
        become=_become(data.get("become")), run_once=data.get("run_once", False),
        environment=data.get("environment", {}), no_log=data.get("no_log", False), vars=data.get("vars", {}),
        undo=None if undo is None else _step(undo, origin.below("undo"), f"{name}.undo", types, on_failure),
        reads_only=data.get("reads_only", False), irreversible=data.get("irreversible"),
        on_failure=on_failure,
        children={role: tuple(_steps(data[role], origin.below(role), types, on_failure))
                  for role in ("block", "rescue", "always") if role in data},
        **optional,
    )


def _conditions(when: Any) -> Iterator[str]:
    for one in when if isinstance(when, list) else [when]:
        yield str(one).lower() if isinstance(one, bool) else one


def _become(data: Any) -> Account | bool | None:
    return Account(**data) if isinstance(data, dict) else data


def _percentage(data: float | str) -> float:
    return parse_percent(data) if isinstance(data, str) else float(data)
