"""The ``group_vars`` and ``host_vars`` directories beside inventory sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultraplan import vault
from ultraplan.inventory import yamltext
from ultraplan.inventory.model import Place
from ultraplan.inventory.problems import Problems
from ultraplan.inventory.values import templated, veiled
from ultraplan.language.errors import Diagnostic, Position, SourceError
from ultraplan.language.source import SourceMap, read_source
from ultraplan.secrets import SecretError

EXTENSIONS = ("", ".yml", ".yaml", ".json")
"""The endings of a file of variables, in the order in which Ansible looks for them."""


class VarFiles:
    """Reads variable files once each. ``folders``: the directories of the sources, later ones winning. ``places``:
    where the variables that are templates stand."""

    def __init__(self, folders: Sequence[Path], environ: Mapping[str, str], problems: Problems) -> None:
        self.folders = tuple(folder.resolve() for folder in folders)
        self._environ = environ
        self._problems = problems
        self.places: dict[tuple[str, str], Place] = {}
        self._listings: dict[Path, frozenset[str]] = {}
        self._loaded: dict[tuple[Path, str], dict[str, Any]] = {}

    def group(self, folder: Path, name: str) -> dict[str, Any]:
        """The variables that ``folder``'s group_vars has for the group ``name``."""
        return self._variables(folder / "group_vars", name)

    def host(self, folder: Path, name: str) -> dict[str, Any]:
        """The variables that ``folder``'s host_vars has for the host ``name``."""
        return self._variables(folder / "host_vars", name)

    def _variables(self, folder: Path, name: str) -> dict[str, Any]:
        key = (folder, name)
        if key not in self._loaded:
            merged: dict[str, Any] = {}
            try:
                files = self._files(folder, name)
            except OSError as error:
                self._problems.add("unreadable", f"cannot read {error.filename}: {error.strerror}")
                files = []
            for file in files:
                merged |= self._read(file, name)
            self._loaded[key] = merged
        return self._loaded[key]

    def _files(self, folder: Path, name: str) -> list[Path]:
        """The files for ``name``: the first of the extensions that exists, or what is in it where it is a directory."""
        for extension in EXTENSIONS:
            if name + extension in self._listing(folder):
                found = folder / (name + extension)
                return _inside(found) if found.is_dir() else [found]
        return []

    def _listing(self, folder: Path) -> frozenset[str]:
        if folder not in self._listings:
            entries = folder.iterdir() if folder.is_dir() else ()
            self._listings[folder] = frozenset()  # so that a mistake is told once
            self._listings[folder] = frozenset(entry.name for entry in entries)
        return self._listings[folder]

    def _read(self, file: Path, owner: str) -> dict[str, Any]:
        try:
            return self._load(file, owner)
        except SourceError as error:
            self._problems.extend(error.diagnostics)
        except SecretError as error:
            self._problems.add("vault", f"cannot decrypt it: {error}", Position(str(file), 1, 1))
        return {}

    def _load(self, file: Path, owner: str) -> dict[str, Any]:
        text = read_source(file)
        encrypted = vault.is_encrypted(text)
        if not encrypted:
            data, source = yamltext.load(text, str(file))
            return self._checked(data, source, file, owner)
        try:
            data, source = yamltext.load(vault.decrypt(text, vault.password_from(self._environ)), str(file))
        except SourceError as error:
            raise SourceError([_hidden(found.code, found.at, file) for found in error.diagnostics]) from None
        problems = Problems()
        variables = _mapping(data, SourceMap(str(file), ""), problems)
        problems.raise_any()
        return {name: veiled(value, file, [name], encrypted=True) for name, value in variables.items()}

    def _checked(self, data: Any, source: SourceMap, file: Path, owner: str) -> dict[str, Any]:
        variables = {name: veiled(value, file, [name]) for name, value in
                     _mapping(data, source, self._problems).items()}
        for name, value in variables.items():
            if templated(value):
                at = source.at((name,))
                self.places[owner, name] = Place(value, at, source.line(at.line))
        return variables


def _hidden(code: str, at: Position | None, file: Path) -> Diagnostic:
    """A mistake in an encrypted file, without anything of its text."""
    return Diagnostic(code, f"the decrypted text of {file.name} is not valid YAML", at)


def _mapping(data: Any, source: SourceMap, problems: Problems) -> Mapping[str, Any]:
    """The variables of a file: a mapping with text keys, or nothing."""
    if not data:
        return {}
    if not isinstance(data, Mapping):
        at = source.at(())
        problems.add("wrong-type", f"a file of variables holds a mapping; this is {kind(data)}", at,
                     source.line(at.line), "write it as name: value")
        return {}
    return {name: value for name, value in data.items() if text_key(name, source, (name,), problems)}


def text_key(name: object, source: SourceMap, path: tuple[Any, ...], problems: Problems) -> bool:
    """Whether a variable's name is text; notes the mistake where it is not."""
    if isinstance(name, str) and name:
        return True
    at = source.at(path, key=True)
    shown = source.line(at.line)[at.column - 1:at.column - 1 + at.length]
    problems.add("key-not-text", f"a name must be text; {shown or 'this'} is {kind(name)}", at, source.line(at.line),
                 f'write it as a quoted string: "{shown}"' if shown else None)
    return False


def kind(value: object) -> str:
    """What a value is, in YAML's words."""
    if value is None:
        return "nothing (null)"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping",
             vault.VaultText: "an encrypted value"}
    return names.get(type(value), "something else") if value != "" else "empty text"


def _inside(folder: Path) -> list[Path]:
    """The files of a directory of variables, in name order, subdirectories' among them; no hidden or backup ones."""
    found: list[Path] = []
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = path.name
        if name.startswith(".") or name.endswith("~"):
            continue
        if path.is_dir():
            if not path.suffix:
                found += _inside(path)
        elif path.is_file() and path.suffix in EXTENSIONS:
            found.append(path)
    return found
