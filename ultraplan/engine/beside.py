"""A plan's files for the compiler: plan files themselves, and the templates and other files that steps name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ultraplan.engine.confirmable import unconfirmable
from ultraplan.engine.sources import SourceMissing, Sources
from ultraplan.language.document import Document
from ultraplan.language.errors import Diagnostic, SourceError
from ultraplan.language.plan import Language
from ultraplan.language.source import decode
from ultraplan.steps.base import StepType
from ultraplan.steps.params import file_fields, schema


class Beside:
    """`ultraplan.graph.files.Beside` over ``sources``, which remember what was read."""

    def __init__(self, sources: Sources, types: Mapping[str, StepType[Any]]) -> None:
        self._sources = sources
        self._types = types
        self._language = Language(types, schema)

    def plan(self, path: str) -> Document:
        """The plan file at ``path`` with its mistakes. Raises `SourceError` where they leave no plan."""
        document = self._language.examine(path, self._bytes)
        wrong = [one for step in document.walk() for one in unconfirmable(step, self._types)]
        return replace(document, mistakes=(*document.mistakes, *wrong))

    def named(self, step_type: str) -> Mapping[str, bool]:
        """The parameters of a step type that name files or folders; true for those that are templates."""
        kind = self._types.get(step_type)
        return file_fields(kind) if kind is not None else {}

    def there(self, path: str) -> bool:
        """Whether a file or folder is there to be read."""
        return self._sources.there(path)

    def text(self, path: str) -> str:
        """The text of a file. Raises `SourceError` where it cannot be read or is not UTF-8."""
        return decode(self._bytes(path), path)

    def _bytes(self, path: str) -> bytes:
        try:
            return self._sources.read(path)
        except SourceMissing as error:
            raise SourceError([Diagnostic("missing-file", str(error), None, None,
                                          "paths are relative to the folder you are in")]) from None
