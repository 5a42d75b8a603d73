"""A few small step types, so that the language's tests do not move when the library does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ultraplan.language.plan import Language
from ultraplan.language.values import Duration, Size
from ultraplan.steps.base import StepType, WayBack
from ultraplan.steps.params import AbsolutePath, Mode, schema


@dataclass(frozen=True)
class FileParams:
    path: AbsolutePath
    content: Annotated[str | None, Meta(description="The whole content")] = None
    mode: Mode | None = None
    owner: str | None = None
    state: Literal["present", "empty"] = "present"
    limit: Size | None = None
    keep: int = 3
    backup: bool = False
    lines: list[str] = field(default_factory=list)


class File(StepType[FileParams]):
    name = "file"
    summary = "A file with this content"
    Params = FileParams

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        if "content" in raw and "lines" in raw:
            return [(("lines",), "content and lines exclude each other")]
        return []


@dataclass(frozen=True)
class CommandParams:
    run: Annotated[str, Meta(min_length=1)]
    chdir: AbsolutePath | None = None
    timeout: Duration | None = None


class Command(StepType[CommandParams]):
    name = "command"
    summary = "A command"
    Params = CommandParams
    shorthand = "run"
    way_back = WayBack.DECLARED

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return [(("run",), "a newline ends a command")] if "\n" in str(raw.get("run", "")).strip() else []


@dataclass(frozen=True)
class AssertParams:
    that: str | list[str]
    message: str | None = None


class Assert(StepType[AssertParams]):
    name = "assert"
    summary = "Something that must hold"
    Params = AssertParams
    shorthand = "that"
    way_back = WayBack.READ_ONLY
    raw_params: ClassVar[frozenset[str]] = frozenset({"that"})


TYPES: dict[str, StepType[Any]] = {kind.name: kind() for kind in (File, Command, Assert)}
LANGUAGE = Language(TYPES, schema)
