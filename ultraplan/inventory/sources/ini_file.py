"""Ansible's INI-like inventory format: ``[group]``, ``[group:children]`` and ``[group:vars]`` sections.
https://docs.ansible.com/ansible/latest/collections/ansible/builtin/ini_inventory.html"""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultraplan.inventory.builder import CycleError
from ultraplan.inventory.names import RANGE_HINT, expand
from ultraplan.inventory.paths import exists
from ultraplan.inventory.sources.base import Opened, Reading
from ultraplan.inventory.values import veiled
from ultraplan.language.errors import Position, did_you_mean
from ultraplan.secrets import neutral

_STATES = ("hosts", "children", "vars")
_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?$")
_TWICE = "one of them would be ignored: remove it or rename it"
_NAME = re.compile(r"([^:\]\s]+)\s*(?:#.*)?$")


class IniFile:
    """Any other file, but not TOML."""

    def claims(self, source: Opened) -> bool:
        """Whether it exists; a file that is nothing else is read as INI."""
        return exists(source.path)

    def read(self, source: Opened, into: Reading) -> None:
        """Add its groups and hosts."""
        if source.path.suffix == ".toml":
            into.problems.add("wrong-type", "TOML inventories are not read", Position(source.name, 1, 1), None,
                              "write it as YAML or INI")
            return
        _Sections(source, into).read()


@dataclass(slots=True)
class _Pending:
    """A group that was named and still has to be declared. ``parents``: the groups it was named a child of."""

    at: Position
    line: str
    section: str
    parents: list[str] = field(default_factory=list)


class _Sections:
    def __init__(self, source: Opened, into: Reading) -> None:
        self.name = source.name
        self.file: Path = source.absolute
        self.lines = neutral(source.text).splitlines()
        self.into = into
        self.builder = into.builder
        self.group = "ungrouped"
        self.state = "hosts"
        self.pending: dict[str, _Pending] = {}
        self.variables: dict[tuple[str, str], int] = {}
        self.number = 0
        self.line = ""

    def read(self) -> None:
        for number, line in enumerate(self.lines, 1):
            self.number, self.line = number, line
            text = line.strip()
            if not text or text[0] in "#;":
                continue
            if "\0" in text:
                self._wrong("control-character", "a control character, U+0000, cannot stand here", "\0")
                continue
            section = _SECTION.match(text)
            if section:
                self._section(section[1], section[2] or "hosts")
            elif text[0] == "[" and text[-1] == "]":
                self._wrong("bad-section", f"'{text}' is not a section", text,
                            "sections are [group], [group:children] and [group:vars], without blanks")
            elif self.state == "hosts":
                self._host(text)
            elif self.state == "vars":
                self._variable(text)
            elif self.state == "children":
                self._child(text)
        for name, wanted in self.pending.items():
            known = [group for group in self.builder.groups if group not in self.pending]
            message = f"the section {wanted.section} needs a group '{name}', which has no section [{name}]"
            self.into.problems.add("undefined-group", message, wanted.at, wanted.line, did_you_mean(name, known))

    def _wrong(self, code: str, message: str, part: str, hint: str | None = None, *, after: int = 0) -> None:
        """A mistake at ``part`` of the current line, looked for from the offset ``after``."""
        column = max(self.line.find(part, after), self.line.find(part), 0) + 1
        at = Position(self.name, self.number, column, max(1, len(part)))
        self.into.problems.add(code, message, at, self.line, hint)

    def _section(self, group: str, state: str) -> None:
        self.group, self.state = group, state
        if state not in _STATES:
            self.state = ""  # its lines could mean anything
            self.builder.add_group(group)
            self._wrong("unknown-section", f"a section cannot end in ':{state}'; known: {', '.join(_STATES)}", state,
                        did_you_mean(state, _STATES))
            return
        wanted = self.pending.get(group)
        if group not in self.builder.groups:
            if state == "vars" and wanted is None:
                at = Position(self.name, self.number, self.line.find(group) + 1, len(group))
                self.pending[group] = _Pending(at, self.line, f"[{group}:vars]")
            self.builder.add_group(group)
        if wanted is not None and state != "vars":
            del self.pending[group]
            for parent in wanted.parents:
                self._adopt(parent, group)

    def _adopt(self, parent: str, child: str) -> None:
        try:
            self.builder.add_child(parent, child)
        except CycleError as error:
            self._wrong("group-cycle", str(error), child)

    def _child(self, text: str) -> None:
        found = _NAME.match(text)
        if not found:
            hint = f"variables go in a section [{self.group}:vars], hosts in [{self.group}]"
            self._wrong("expected-group", f"in [{self.group}:children] each line is one group's name", text, hint)
            return
        child = found[1]
        if child in self.builder.groups:
            self._adopt(self.group, child)
            return
        if child not in self.pending:
            at = Position(self.name, self.number, self.line.find(child) + 1, len(child))
            self.pending[child] = _Pending(at, self.line, f"[{self.group}:children]")
        self.pending[child].parents.append(self.group)

    def _variable(self, text: str) -> None:
        if "=" not in text:
            self._wrong("expected-variable", f"in [{self.group}:vars] each line is name=value", text,
                        f"hosts go in a section [{self.group}]")
            return
        name, value = (part.strip() for part in text.split("=", 1))
        first = self.variables.setdefault((self.group, name), self.number)
        if first != self.number:
            self._wrong("duplicate-key", f"'{name}' of group '{self.group}' stands here a second time; line {first} "
                        "has it first", name, _TWICE)
            return
        self._set([self.group], name, value)

    def _host(self, text: str) -> None:
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            self._wrong("bad-host", f"this line cannot be read: {str(error).lower()}", text,
                        "a quote that opens is closed on its line; one that is part of a value stands in other quotes")
            return
        if not words:
            return
        names, port = self._names(words[0])
        seen: set[str] = set()
        for name in names:
            self.builder.add_host(name, self.group, port)
        after = self.line.find(words[0]) + len(words[0])
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals:
                self._wrong("expected-variable", f"after a host's name come variables as name=value, not '{word}'",
                            word, "no blanks stand around '='; a value with blanks is quoted: name='a b'",
                            after=after)
            elif name in seen:
                self._wrong("duplicate-key", f"'{name}' stands on this line twice", name, _TWICE, after=after)
            else:
                seen.add(name)
                self._set(names, name, value)
            after = max(after, self.line.find(name, after) + len(name))

    def _names(self, pattern: str) -> tuple[list[str], int | None]:
        """The hosts that a line's first word names and their port; none where it is a mistake."""
        if not pattern or "=" in pattern:
            self._wrong("bad-host", f"'{pattern}' is where a host's name should be", pattern,
                        f"variables of a group go in a section [{self.group}:vars]")
            return [], None
        if pattern == "---":
            self._wrong("bad-host", "'---' begins a YAML file, and this is read as INI", pattern,
                        "a YAML inventory ends in .yml or .yaml")
            return [], None
        try:
            names, port = expand(pattern)
        except ValueError as error:
            self._wrong("bad-range", str(error), pattern, RANGE_HINT)
            return [], None
        if pattern.endswith(":") and port is None and not pattern.endswith("::"):
            self._wrong("bad-host", f"'{pattern}' ends in a colon, after which a port should come", pattern,
                        "a YAML inventory ends in .yml or .yaml")
            return [], None
        return names, port

    def _set(self, owners: list[str], name: str, text: str) -> None:
        value = veiled(literal(text), self.file, [name])
        at = Position(self.name, self.number, max(self.line.find(text), 0) + 1, max(1, len(text)))
        try:
            for owner in owners:
                self.builder.set_variable(owner, name, value, at, self.line)
        except ValueError as error:
            self._wrong("bad-priority", str(error), text)


def literal(text: str) -> Any:
    """The value that ``text`` writes: what it is as a Python literal (a number, quoted text, a list, True …), otherwise
    the text itself. Nothing is evaluated. Tuples and sets become lists, bytes and complex numbers text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key) if isinstance(key, (bytes, complex)) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, complex):
        return str(value)
    return "..." if value is ... else value
