"""Ansible's YAML inventory format (and JSON): groups as keys, each with ``hosts``, ``vars`` and ``children``.
https://docs.ansible.com/ansible/latest/collections/ansible/builtin/yaml_inventory.html"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ultraplan.inventory import yamltext
from ultraplan.inventory.builder import CycleError
from ultraplan.inventory.names import RANGE_HINT, expand
from ultraplan.inventory.paths import exists
from ultraplan.inventory.sources.base import Opened, Reading
from ultraplan.inventory.values import templated, veiled
from ultraplan.inventory.varfiles import EXTENSIONS, kind, text_key
from ultraplan.language.errors import did_you_mean
from ultraplan.secrets import neutral

_PARTS = ("hosts", "vars", "children")
_FIRST = re.compile(r"""(?:---|%YAML|\{|['"]?[^\s=\[]+['"]?\s*:(?:\s*$|\s+(?:[#&{]|null\b|~)))""")
_SECTION = re.compile(r"\[[^\[\]\s,]+\]\s*(?:#.*)?$")


class YamlFile:
    """A file that ends in .yml, .yaml or .json, or in nothing and begins as YAML does; not one that begins with an INI
    section."""

    def claims(self, source: Opened) -> bool:
        """Whether the file is YAML or JSON, by its name and its first line that says something."""
        if source.path.suffix not in EXTENSIONS or not exists(source.path):
            return False
        lines = (line.strip() for line in source.text.splitlines())
        first = next((line for line in lines if line and line[0] not in "#;"), "")
        if source.path.suffix:
            return source.path.suffix == ".json" or not _SECTION.match(first)
        return _FIRST.match(first) is not None

    def read(self, source: Opened, into: Reading) -> None:
        """Add its groups and hosts."""
        _Groups(source, into).read()


class _Groups:
    def __init__(self, source: Opened, into: Reading) -> None:
        self.file = source.absolute
        self.data, self.source = yamltext.load(source.text, source.name)
        self.into = into

    def read(self) -> None:
        if self.data is None:
            return
        if not isinstance(self.data, Mapping):
            self._wrong("wrong-type", f"an inventory is a mapping of groups; this is {kind(self.data)}", ())
        elif self.data.get("plugin"):
            self._wrong("plugin", "this configures one of Ansible's inventory plugins, which are not read", ("plugin",),
                        key=True, hint="let an executable source ask it: exec ansible-inventory -i FILE --list")
        else:
            for name, body in self.data.items():
                self._group(name, body, (name,))

    def _wrong(self, code: str, message: str, path: tuple[Any, ...], *, hint: str | None = None,
               key: bool = False) -> None:
        at = self.source.at(path, key=key)
        self.into.problems.add(code, message, at, self.source.line(at.line), hint)

    def _group(self, name: Any, body: Any, path: tuple[Any, ...]) -> bool:
        """Add a group and what it holds; whether it has a name."""
        if not text_key(name, self.source, path, self.into.problems):
            return False
        name = neutral(name)
        self.into.builder.add_group(name)
        if body is None:
            return True
        if not isinstance(body, Mapping):
            self._wrong("wrong-type", f"group '{name}' must be a mapping with hosts, vars or children; this is "
                        f"{kind(body)}", path)
            return True
        for key, part in body.items():
            here = (*path, key)
            if key not in _PARTS:
                hint = did_you_mean(str(key), _PARTS) or "a host goes under 'hosts:', a group under 'children:'"
                self._wrong("unknown-key", f"'{key}' is not part of a group; known: {', '.join(_PARTS)}", here,
                            hint=hint, key=True)
            elif part is not None:
                self._part(name, key, {part: None} if isinstance(part, str) and key != "vars" else part, here)
        return True

    def _part(self, group: str, key: str, part: Any, path: tuple[Any, ...]) -> None:
        if not isinstance(part, Mapping):
            self._wrong("wrong-type", f"'{key}' of group '{group}' must be a mapping; this is {kind(part)}", path,
                        hint="write each name as a key: 'web1:' instead of '- web1'" if key != "vars" else
                        "write each variable as name: value")
        elif key == "vars":
            self._variables([group], part, path)
        elif key == "children":
            for child, body in part.items():
                if self._group(child, body, (*path, child)):
                    self._child(group, child, (*path, child))
        else:
            for pattern, variables in part.items():
                self._hosts(group, pattern, variables, (*path, pattern))

    def _child(self, group: str, child: str, path: tuple[Any, ...]) -> None:
        try:
            self.into.builder.add_child(group, neutral(child))
        except CycleError as error:
            self._wrong("group-cycle", str(error), path, key=True)

    def _hosts(self, group: str, pattern: Any, variables: Any, path: tuple[Any, ...]) -> None:
        if not text_key(pattern, self.source, path, self.into.problems):
            return
        try:
            names, port = expand(neutral(pattern))
        except ValueError as error:
            self._wrong("bad-range", str(error), path, key=True,
                        hint=RANGE_HINT)
            return
        for name in names:
            self.into.builder.add_host(name, group, port)
        if variables is None:
            return
        if not isinstance(variables, Mapping):
            self._wrong("wrong-type", f"host '{pattern}' must have a mapping of variables, or nothing; this is "
                        f"{kind(variables)}", path)
            return
        self._variables(names, variables, path)

    def _variables(self, owners: list[str], variables: Mapping[Any, Any], path: tuple[Any, ...]) -> None:
        for name, value in variables.items():
            here = (*path, name)
            if not text_key(name, self.source, here, self.into.problems):
                continue
            value = veiled(value, self.file, here)
            at = self.source.at(here) if templated(value) else None
            try:
                for owner in owners:
                    self.into.builder.set_variable(owner, name, value, at, self.source.line(at.line) if at else "")
            except ValueError as error:
                self._wrong("bad-priority", str(error), here)
