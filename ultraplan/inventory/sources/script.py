"""Executable inventories: programs that answer ``--list`` (and, where they do not give ``_meta``, ``--host NAME``) in
JSON. Format: https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html#inventory-scripts"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultraplan.inventory.builder import CycleError
from ultraplan.inventory.paths import exists
from ultraplan.inventory.sources.base import Opened, Reading
from ultraplan.inventory.values import holds_vault, veiled
from ultraplan.inventory.varfiles import kind
from ultraplan.language.errors import Diagnostic, Position, SourceError
from ultraplan.secrets import neutral

_PROGRAMS = (b"#!", b"\x7fELF")


class Script:
    """An executable file that begins as a program does. A file that merely has the executable bit is read as text."""

    def claims(self, source: Opened) -> bool:
        """Whether it is an executable program."""
        if not exists(source.path) or not source.path.is_file() or not os.access(source.path, os.X_OK):
            return False
        with suppress(OSError), source.path.open("rb") as file:
            return file.read(4).startswith(_PROGRAMS)
        return False

    def read(self, source: Opened, into: Reading) -> None:
        """Run it and add what it answers."""
        _Answers(source, into).read()


class _Answers:
    def __init__(self, source: Opened, into: Reading) -> None:
        self.name = source.name
        self.path = source.absolute
        self.into = into
        self.hosts: dict[str, None] = {}

    def read(self) -> None:
        answer = self._ask("--list")
        meta = answer.pop("_meta", None)
        for group, data in answer.items():
            self._group(group, data)
        known = self._hostvars(meta)
        for host in self.hosts:
            found = self._ask("--host", host) if known is None else known.get(host, {})
            self._variables(host, found, f"the variables of host '{host}'")

    def _hostvars(self, meta: Any) -> Mapping[str, Any] | None:
        """``_meta.hostvars``, or None where the script is to be asked for each host."""
        if meta is None or (isinstance(meta, dict) and "hostvars" not in meta):
            return None
        hostvars = meta["hostvars"] if isinstance(meta, dict) else meta
        if isinstance(hostvars, dict):
            return hostvars
        self._wrong("wrong-type", f"_meta.hostvars must be an object, not {kind(hostvars)}")
        return {}

    def _group(self, name: str, data: Any) -> None:
        builder = self.into.builder
        if not name:
            self._wrong("wrong-type", "a group has an empty name")
            return
        builder.add_group(name)
        if isinstance(data, list):
            data = {"hosts": data}
        elif not isinstance(data, dict):
            self._wrong("wrong-type", f"group '{name}' must be an object or a list of hosts, not {kind(data)}")
            return
        elif not data.keys() & {"hosts", "vars", "children"}:
            data = {"hosts": [name], "vars": data}  # Ansible's oldest form: a host's variables under its own name
        for host in self._names(name, "hosts", data):
            self.hosts[host] = None
            builder.add_host(host, name)
        self._variables(name, data.get("vars", {}), f"the variables of group '{name}'")
        for child in self._names(name, "children", data):
            builder.add_group(child)
            try:
                builder.add_child(name, child)
            except CycleError as error:
                self._wrong("group-cycle", str(error))

    def _names(self, group: str, part: str, data: Mapping[str, Any]) -> list[str]:
        names = data.get(part, [])
        if isinstance(names, list) and all(isinstance(name, str) and name for name in names):
            return [neutral(name) for name in names]
        self._wrong("wrong-type", f"'{part}' of group '{group}' must be a list of names")
        return []

    def _variables(self, owner: str, data: Any, what: str) -> None:
        if not isinstance(data, dict):
            self._wrong("wrong-type", f"{what} must be an object, not {kind(data)}")
            return
        for key, value in data.items():
            if holds_vault(value):
                self._wrong("vault", f"{what}: '{key}' is encrypted, which works in files only")
                continue
            try:
                self.into.builder.set_variable(owner, key, veiled(value, self.path, [key]))
            except ValueError as error:
                self._wrong("bad-priority", f"{what}: {error}")

    def _wrong(self, code: str, message: str, hint: str | None = None) -> None:
        self.into.problems.add(code, f"inventory script: {message}", Position(self.name, 1, 1), None, hint)

    def _ask(self, *options: str) -> dict[str, Any]:
        """The object that the script answers; an empty answer to ``--host`` is an empty object."""
        out = _run(self.path, options, self.into)
        said = " ".join(options)
        if options[0] == "--host" and not out.strip():
            return {}
        try:
            answer = json.loads(out.decode("utf-8"))
        except UnicodeDecodeError:
            raise _failed(self.name, f"{said} answered something that is not UTF-8 text") from None
        except (ValueError, RecursionError) as error:
            raise _failed(self.name, f"{said} did not answer JSON: {error}") from None
        if not isinstance(answer, dict):
            raise _failed(self.name, f"{said} must answer a JSON object, not {kind(answer)}")
        return answer


def _run(path: Path, options: tuple[str, ...], into: Reading) -> bytes:
    """What the script prints; raises `SourceError` where it fails or takes too long (it is then killed, as a group)."""
    said = " ".join(options)
    try:
        process = subprocess.Popen([str(path), *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=dict(into.environ), start_new_session=True)
    except (OSError, ValueError) as error:
        raise _failed(str(path), f"it cannot be started: {getattr(error, 'strerror', None) or error}",
                      "its first line must name an interpreter that exists") from None
    try:
        out, err = process.communicate(timeout=into.script_seconds)
    except subprocess.TimeoutExpired:
        raise _failed(str(path), f"{said} gave no answer within {into.script_seconds:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _failed(str(path), f"{said} failed with exit code {process.returncode}" +
                      "".join(f": {neutral(line)}" for line in last))
    return out


def _failed(name: str, message: str, hint: str | None = None) -> SourceError:
    return SourceError([Diagnostic("script", f"inventory script: {message}", Position(name, 1, 1), None, hint)])
