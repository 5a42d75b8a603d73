"""Which names the texts of a step use, where, and whether the text itself provides for their absence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ultraplan.language.document import Origin, Step
from ultraplan.language.errors import Position
from ultraplan.language.examining import Examined, examined, unbraced
from ultraplan.language.source import SourceMap
from ultraplan.shell import Account

Path = tuple[str, ...]
Bare = Mapping[str, tuple[frozenset[str], str | None]]
"""By step type: the parameters that hold expressions without braces, and the parameter that a bare scalar means."""


@dataclass(frozen=True, slots=True)
class Use:
    """A dotted path of names, used by ``text``, which stands at ``origin``.

    ``sure``: how many of its parts have to be there (one that `default` or `is defined` is asked about need not).
    ``place``: ``params``, ``when``, ``until``, ``undo`` …
    """

    path: Path
    sure: int
    origin: Origin
    place: str
    text: str

    def position(self) -> Position:
        """Where in the text the path stands."""
        for length in range(len(self.path), 0, -1):
            found = re.search(rf"(?<![\w.]){re.escape('.'.join(self.path[:length]))}(?!\w)", self.text)
            if found is not None:
                before = self.text[:found.start()]
                at = self.origin.source.within(
                    self.origin.path, before.count("\n") + 1, len(before) - before.rfind("\n"))
                return replace(at, length=len(found[0]))
        return self.origin.at()

    @property
    def needed(self) -> Path:
        """The part of the path that has to be there."""
        return self.path[:self.sure]


def step_uses(step: Step, bare: Bare, guards: frozenset[Path]) -> Iterator[Use]:
    """The uses in a step's own texts, its ``undo`` included; not its ``vars``, ``loop`` and children.

    ``guards``: the paths that its conditions, and those around it, ask about.
    """
    for place, origin, value, plain in _texts_of(step, bare):
        yield from text_uses(value, origin, place, bare=plain, guards=guards)
    if step.undo is not None:
        for _, origin, value, plain in _texts_of(step.undo, bare):
            yield from text_uses(value, origin, "undo", bare=plain, guards=guards)


def text_uses(
    value: Any, origin: Origin, place: str, *, bare: bool = False, guards: frozenset[Path] = frozenset(),
) -> Iterator[Use]:
    """The uses in all texts of ``value``, which stands at ``origin``; ``guards``: paths asked about elsewhere."""
    for path, text in _texts(value, bare):
        names, asked = _names(text, bare)
        for name in sorted(names):
            yield Use(name, _sure(name, asked | guards), origin.below(*path), place, text)


def file_uses(text: SourceMap, place: str) -> Iterator[Use]:
    """The uses in the text of a template file."""
    known = examined(text.text, "file")
    for name in sorted(known.names):
        yield Use(name, _sure(name, known.asked), Origin(text, ()), place, text.text)


def guards_of(conditions: Iterable[str]) -> frozenset[Path]:
    """The paths that ``conditions`` ask about with ``is defined`` or `default`; one that cannot be read may ask about
    anything: the empty path."""
    found: frozenset[Path] = frozenset()
    for condition in conditions:
        known = _examined(condition, True)
        found |= known.asked if known.error is None else frozenset({()})
    return found


def _sure(name: Path, asked: Iterable[Path]) -> int:
    return min((max(0, len(one) - 1) for one in asked if name[:len(one)] == one), default=len(name))


def _texts_of(step: Step, bare: Bare) -> Iterator[tuple[str, Origin, Any, bool]]:
    below = step.origin.below
    raw, shorthand = bare.get(step.type, (frozenset[str](), None))
    if step.type != "block":
        params = below(step.type)
        if isinstance(step.params, Mapping):
            for name, value in step.params.items():
                yield "params", params.below(name), value, name in raw
        else:
            yield "params", params, step.params, shorthand in raw
    yield "when", below("when"), list(step.when), True
    yield "until", below("until"), step.until, True
    yield "environment", below("environment"), step.environment, False
    yield "name", below("name"), step.name, False
    if isinstance(step.become, Account):
        yield "become", below("become", "user"), step.become.user, False


def _texts(value: Any, bare: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        if bare or "{{" in value or "{%" in value:
            yield (), value
    elif isinstance(value, Mapping):
        if not (len(value) == 1 and isinstance(value.get("secret"), str)):
            for key, one in value.items():
                for path, text in _texts(one, bare):
                    yield (key, *path), text
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            for path, text in _texts(one, bare):
                yield (index, *path), text


def _names(text: str, bare: bool) -> tuple[frozenset[Path], frozenset[Path]]:
    """The paths that ``text`` uses, and those of them that it asks about; none where it has a syntax error, which is
    reported, with its position, where the document is read."""
    known = _examined(text, bare)
    return known.names, known.asked


def _examined(text: str, bare: bool) -> Examined:
    return examined(unbraced(text), "bare") if bare else examined(text, "value")
