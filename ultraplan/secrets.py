"""Secrets by reference: what stands for a secret while it travels, how it is resolved, and how text is redacted.

A secret never becomes part of a value. Where a plan says ``{secret: env:NAME}``, rendering leaves a *marker*, the
reference between two private-use characters. Markers go through templates, plan files and journals unharmed; the
value takes a marker's place only in the bytes that are sent to a host (`Secrets.reveal`), and everything that leaves
for people or disks goes through `Secrets.redact`, which follows the value wherever it turns up.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

OPEN, CLOSE = "\ue0f0", "\ue0f1"
"""The private-use characters around a reference in a marker."""

_MARKER = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")
_SHORTEST = 4  # shorter values would redact half of every text


class SecretError(Exception):
    """A secret cannot be had; the message names the reference, never the value."""


def marker(reference: str) -> str:
    """The marker of ``reference`` (for example ``env:DB_PASSWORD``)."""
    return f"{OPEN}{reference}{CLOSE}"


def references(text: str) -> frozenset[str]:
    """The references whose markers stand in ``text``."""
    return frozenset(_MARKER.findall(text))


def has_marker(text: str) -> bool:
    """Whether ``text`` holds a marker."""
    return OPEN in text


def neutral(text: str) -> str:
    """``text`` from a host or a server, with marker characters replaced: data can never ask for a secret."""
    return text.replace(OPEN, "\ufffd").replace(CLOSE, "\ufffd")


def shown(text: str) -> str:
    """``text`` for people: each marker as ``«secret env:NAME»``."""
    return _MARKER.sub(lambda m: f"«secret {m[1]}»", text)


def rooted(reference: str, folder: Path) -> str:
    """``reference``, where the file that ``file:PATH`` or ``vault:FILE#KEY`` names is below ``folder`` unless it is
    absolute or in somebody's home."""
    scheme, _, rest = reference.partition(":")
    name = urllib.parse.unquote(rest.partition("#")[0]) if scheme == "vault" else rest
    if scheme not in ("file", "vault") or name.startswith(("/", "~")):
        return reference
    where = str(folder)
    if scheme == "vault":  # whose names have % and # percent-encoded
        where = "".join(c if c.isprintable() and c not in "%#" else urllib.parse.quote(c, safe="") for c in where)
    path, hash_, keys = rest.partition("#") if scheme == "vault" else (rest, "", "")
    return f"{scheme}:{os.path.normpath(f'{where}/{path}')}{hash_}{keys}"


Resolver = Callable[[str], str]
"""From what follows the scheme to the value; raises `SecretError`."""


def _from_env(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise SecretError(f"secret env:{name}: the environment has no variable {name}") from None


def files_in(folder: Path) -> Resolver:
    """The resolver of ``file:PATH``, where a PATH that is not absolute is below ``folder``."""
    def resolve(path: str) -> str:
        file = folder / Path(path).expanduser()
        try:
            return file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            where = "" if Path(path).is_absolute() else f" (looked for {file.absolute()})"
            raise SecretError(f"secret file:{path}: {why}{where}") from None

    return resolve


class Secrets:
    """Resolves references once, and redacts every value it has seen. Safe to use from several threads.

    ``declared``: the references that the plan and inventory name; any other is refused, so that no text that came from
    a host can ask for one. ``resolvers`` adds schemes beside ``env`` and ``file``.
    """

    def __init__(self, declared: Iterable[str] = (), resolvers: Mapping[str, Resolver] | None = None) -> None:
        self._declared = set(declared)
        self._resolvers: dict[str, Resolver] = {"env": _from_env, "file": files_in(Path()), **(resolvers or {})}
        self._values: dict[str, str] = {}
        self._spellings: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def declare(self, references: Iterable[str]) -> None:
        """Allow ``references`` to be resolved."""
        self._declared.update(references)

    def value(self, reference: str) -> str:
        """The value of ``reference``; raises `SecretError` where it is unknown, undeclared or cannot be read."""
        with self._lock:
            if reference in self._values:
                return self._values[reference]
            if reference not in self._declared:
                raise SecretError(f"secret {reference}: not declared by the plan or its inventory")
            scheme, _, rest = reference.partition(":")
            if scheme not in self._resolvers:
                raise SecretError(f"secret {reference}: unknown scheme; known: {', '.join(sorted(self._resolvers))}")
            value = self._resolvers[scheme](rest)
            self._values[reference] = value
            for spelling in _spellings(value):
                if len(spelling) >= _SHORTEST:
                    self._spellings[spelling] = reference
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
            return value

    def reveal(self, text: str) -> str:
        """``text`` with each marker replaced by its value as it is (for contents, headers and the like)."""
        return _MARKER.sub(lambda m: self.value(m[1]), text) if OPEN in text else text

    def reveal_in_shell(self, text: str) -> str:
        """A shell program with each marker, which `ultraplan.shell.quote` put in single quotes, replaced by its value
        escaped for single quotes."""
        return _MARKER.sub(lambda m: self.value(m[1]).replace("'", "'\\''"), text) if OPEN in text else text

    def conceal(self, text: str) -> str:
        """``text`` from a host with marker characters neutralized and every known value replaced by its marker, so that
        it can be stored, shown, and still be sent where a later step uses it."""
        text = neutral(text)
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda m: marker(self._spellings[m[0]]), text)

    def redact(self, text: str) -> str:
        """``text`` with every known value, in any of its spellings, and every marker replaced by its name."""
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(lambda m: marker(self._spellings[m[0]]), text)
        return shown(text) if OPEN in text else text


def _spellings(value: str) -> set[str]:
    """How ``value`` may look after the encodings that text commonly goes through on its way to a log."""
    raw = value.encode()
    lines = [line for line in value.splitlines() if len(line) >= 8]
    return {
        value,
        *lines,
        value.replace("'", "'\\''"),
        shlex.quote(value),
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
        base64.b64encode(raw).decode(),
        repr(value)[1:-1],
    }
