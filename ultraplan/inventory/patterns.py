"""Ansible's host patterns: which hosts ``web:&prod:!db[0:2]`` means.
https://docs.ansible.com/ansible/latest/inventory_guide/intro_patterns.html"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

from ultraplan.inventory.model import Inventory
from ultraplan.inventory.names import LOCALHOST, split_port
from ultraplan.inventory.paths import expanded
from ultraplan.language.errors import did_you_mean

_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]+)|([0-9]+)[:-]([0-9]*))\]$", re.DOTALL)
_PART = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_GLOB = frozenset(".?*[")


class PatternError(ValueError):
    """A pattern that cannot be read or names nothing. ``hint``: what was probably meant."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}; {hint}" if hint else message)


def match(inventory: Inventory, pattern: str, limit: str | None = None, *, strict: bool = True) -> tuple[str, ...]:
    """The names of the hosts that ``pattern`` means, each once, in Ansible's order; of them only those that ``limit``
    means too, where it is given (there, ``@FILE`` stands for one pattern a line).

    Raises `PatternError` for a pattern that is empty, no regular expression, or counts beyond its hosts; and, unless
    ``strict`` is off, for a name that is neither a host nor a group. (In Ansible such a name means no host, as a
    glob or regular expression that matches nothing does here too.)
    """
    matcher = _Matcher(inventory, strict)
    hosts = matcher.evaluate(_nonempty(split(pattern), "the host pattern"))
    if limit is not None:
        wanted = frozenset(matcher.evaluate(_nonempty(_limit(limit), "the limit")))
        hosts = [host for host in hosts if host in wanted]
    return tuple(dict.fromkeys(hosts))


def split(pattern: str) -> list[str]:
    """The parts of a pattern: at its commas, or at its colons where it has none and is no address (``::1``)."""
    if "," in pattern:
        parts = pattern.split(",")
    elif split_port(pattern) is not None:
        parts = [pattern]
    else:
        parts = _PART.findall(pattern)
    return [part.strip() for part in parts if part.strip()]


def _nonempty(parts: list[str], what: str) -> list[str]:
    """Ansible takes an empty pattern for all hosts; nobody writes one for that."""
    if not parts:
        raise PatternError(f"{what} is empty", "every host is 'all'")
    return parts


def _limit(limit: str) -> list[str]:
    parts: list[str] = []
    for part in split(limit):
        if not part.startswith("@"):
            parts.append(part)
            continue
        file = expanded(part[1:])
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            raise PatternError(f"the limit file '{file}' is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise PatternError(f"the limit file '{file}' cannot be read: {getattr(error, 'strerror', error)}") from None
        parts += filter(None, map(str.strip, lines))
    return parts


class _Matcher:
    def __init__(self, inventory: Inventory, strict: bool) -> None:
        self.inventory = inventory
        self.named = {name: None for name, host in inventory.hosts.items() if not host.implicit}
        self.strict = strict

    def evaluate(self, parts: Sequence[str]) -> list[str]:
        """Ansible's order: first what adds (``all`` where nothing does), then ``&``, then ``!``.

        A name that is both a host's and a group's means the host where it adds, and the group after ``&`` and ``!``.
        """
        adding = [part for part in parts if part[0] not in "&!"] or ["all"]
        hosts: dict[str, None] = {}
        for part in adding:
            hosts.update(dict.fromkeys([part] if part in self.named else self._part(part)))
        for part in parts:
            if part[0] == "&":
                both = frozenset(self._part(part[1:]))
                hosts = {host: None for host in hosts if host in both}
        for part in parts:
            if part[0] == "!":
                without = frozenset(self._part(part[1:]))
                hosts = {host: None for host in hosts if host not in without}
        return list(hosts)

    def _part(self, text: str) -> Sequence[str]:
        """What one part means; a host may stand in it twice, and subscripts count it twice (as in Ansible)."""
        if not text:
            raise PatternError("'&' and '!' need a pattern after them")
        subscript = None if text[0] == "~" else _SUBSCRIPT.match(text)
        found, known = self._names(subscript[1] if subscript else text)
        if not found and not known:
            if self.strict and text[0] != "~" and not _GLOB - {"."} & set(subscript[1] if subscript else text):
                raise PatternError(f"'{text}' is no host and no group", self._meant(text))
            return []
        return _chosen(found, subscript, text) if subscript and found else found

    def _names(self, text: str) -> tuple[list[str], bool]:
        """The hosts of the groups that ``text`` matches, then the hosts it matches; and whether it matched anything."""
        matches = _regex(text)
        groups = [group for group in self.inventory.groups if matches.match(group)]
        found = [host for group in groups for host in self.inventory.members(group)]
        if not groups or text[0] == "~" or _GLOB & set(text):
            found += [host for host in self.named if matches.match(host)]
        if not found and text in LOCALHOST:
            found += [host for host in self.inventory.hosts if host in LOCALHOST][:1]
        return found, bool(groups) or text == "all"

    def _meant(self, text: str) -> str | None:
        known: Iterable[str] = [*self.inventory.groups, *self.named]
        return did_you_mean(re.sub(r"\[[^\]]*\]$", "", text), known) or (
            "the inventory has no host" if not self.named else "`ultraplan inventory list` shows what there is")


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text[1:] if text[0] == "~" else fnmatch.translate(text))
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"'{text}' is not a regular expression: {error}") from None


def _chosen(hosts: list[str], subscript: re.Match[str], text: str) -> Sequence[str]:
    """``group[0]``, ``group[-1]``, ``group[0:2]`` (the end is included) and ``group[2:]``, counted as Ansible does."""
    _, index, begin, end = subscript.groups()
    if index is None and end and int(end) > 0:
        return hosts[int(begin):int(end) + 1]
    if index is None and not end:
        return hosts[int(begin):]
    at = int(index if index is not None else begin)
    if not -len(hosts) <= at < len(hosts):
        raise PatternError(f"'{text}' counts beyond its {len(hosts)} hosts", "the first host is [0], the last is [-1]")
    return [hosts[at]]
