"""What the steps about paths share: reading what the `up_look` function of the hosts' library prints, and working out
modes and owners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from ultraplan.language.values import parse_mode
from ultraplan.secrets import has_marker, neutral
from ultraplan.shell import Reply, quote
from ultraplan.steps.base import FieldDiff, StepFailed

SHOWN_LIMIT = 256 * 1024
"""Files up to this many bytes are read for diffs."""

Owner = Annotated[str, Meta(pattern="^[^:]+$", description="The owning account, by name or number")]
Group = Annotated[str, Meta(pattern="^[^:]+$", description="The owning group, by name or number")]

_KINDS = {0o100000: "file", 0o040000: "directory", 0o120000: "link"}
_LS_KINDS = {"-": "file", "d": "directory", "l": "link"}


def tidy(path: str) -> str:
    """``path`` without doubled slashes, ``.`` components and slashes at the end; ``..`` stays what it is."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def reach_of(known: Mapping[str, Any], name: str = "path", sort: str = "path") -> tuple[str, ...] | None:
    """`StepType.reach` of a step that changes the path, or tree, that its parameter ``name`` says."""
    path = known.get(name)
    return (f"{sort}:{tidy(path)}",) if isinstance(path, str) else None


def folder_of(path: str) -> str:
    """The folder that a tidy, absolute path is in."""
    return path.rpartition("/")[0] or "/"


@dataclass(frozen=True, slots=True)
class Look:
    """What a probe printed: the fields, and the bytes after the empty line (a file's content or a link's target)."""

    fields: Mapping[str, str]
    rest: bytes
    same: Mapping[int, int]

    @classmethod
    def read(cls, reply: Reply, path: str) -> Look:
        """The answer as a value; raises `StepFailed` where the program could not look."""
        if reply.exit != 0:
            raise StepFailed(reply.error_text.strip() or f"cannot look at {path}: exit code {reply.exit}")
        head, gap, rest = reply.stdout.partition(b"\n\n")
        if not gap:
            raise StepFailed(f"cannot look at {path}: the host's answer is cut short")
        fields: dict[str, str] = {}
        same: dict[int, int] = {}
        for line in neutral(head.decode("utf-8", "replace")).split("\n"):
            name, _, value = line.partition("=")
            if name == "same":
                number, candidate = value.split()
                same[int(number)] = int(candidate)
            else:
                fields[name] = value
        return cls(fields, rest, same)

    def lacks(self, path: str) -> tuple[str, ...]:
        """`State.lacks` of a step that puts something at ``path``: the folder it is in, where that is not there."""
        return (folder_of(tidy(path)),) if "orphan" in self.fields else ()

    @property
    def kind(self) -> str:
        """file, directory, link, other (devices, sockets, pipes) or absent."""
        raw = self.fields["mode"]
        if raw == "absent":
            return raw
        if raw[0] in "-dlbcpsD":
            return _LS_KINDS.get(raw[0], "other")
        return _KINDS.get(int(raw, 16) & 0o170000, "other")

    @property
    def mode(self) -> str:
        """The permissions as four octal digits."""
        raw = self.fields["mode"]
        return f"{_ls_mode(raw) if raw[0] in '-dlbcpsD' else int(raw, 16) & 0o7777:04o}"

    @property
    def account(self) -> dict[str, Any]:
        """uid, gid, owner and group of what is there; where nothing is, those that something new would get."""
        uid, gid = int(self.fields["uid"]), int(self.fields["gid"])
        return {"uid": uid, "gid": gid, "owner": _name(self.fields, "owner", uid),
                "group": _name(self.fields, "group", gid)}

    @property
    def wanted(self) -> dict[str, tuple[int, str]]:
        """The accounts that were asked for and are known on the host: uid and gid to (number, name)."""
        found = {}
        for key in ("uid", "gid"):
            number, _, name = self.fields.get(f"want_{key}", "").partition(":")
            if number.isdigit():
                found[key] = (int(number), name)
        return found

    def facts(self) -> dict[str, Any]:
        """The comparable facts, without those about content.

        They say nothing of the folder around it: an earlier step of the same plan may make that, and what was promised
        of the path itself still holds.
        """
        if self.kind == "absent":
            return {"kind": "absent"}
        if self.kind == "link":
            return {"kind": "link", "target": target_text(self.rest)}
        return {"kind": self.kind, "mode": self.mode, **self.account}


def target_text(raw: bytes) -> str:
    """A link's target as text that can be compared and stored; bytes that are not UTF-8 as ``\\xNN``."""
    return neutral(raw.decode("utf-8", "backslashreplace"))


def _name(fields: Mapping[str, str], key: str, number: int) -> str:
    name = fields.get(key, "")
    return str(number) if name in ("", "UNKNOWN") else name


def _ls_mode(text: str) -> int:
    mode = 0
    for index, special in enumerate((0o4000, 0o2000, 0o1000)):
        read, write, execute = (text[1 + 3 * index + place] for place in range(3))
        bits = (4 if read == "r" else 0) | (2 if write == "w" else 0) | (1 if execute in "xst" else 0)
        mode |= bits << (6 - 3 * index) | (special if execute in "sStT" else 0)
    return mode


def ask_accounts(owner: str | None, group: str | None) -> str:
    """The part of a probe that asks for the numbers of the accounts that are wanted."""
    lines = [f"up_known {kind} {quote(name)}" for kind, name in (("uid", owner), ("gid", group)) if name is not None]
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Access:
    """The mode and owner that something is to have. ``facts`` is None where the host does not know the account (yet).

    ``mode``: four octal digits. ``chown``: what chown takes, empty where the owner need not be set.
    """

    mode: str
    chown: str
    facts: Mapping[str, Any] | None
    diff: tuple[FieldDiff, ...]

    @property
    def chmod(self) -> str:
        """What chmod takes; five digits also clear a folder's set-group-ID bit."""
        return "0" + self.mode

    @property
    def changes(self) -> str:
        """``mode 0644 → 0640, owner root → app``; empty where all is as it should be."""
        return ", ".join(f"{part.field} {part.before} → {part.after}" for part in self.diff)

    @property
    def shown(self) -> str:
        """``0640 root:root``"""
        return self.mode if self.facts is None else f"{self.mode} {self.facts['owner']}:{self.facts['group']}"


def access(
    wanted_mode: str | None, owner: str | None, group: str | None, facts: Mapping[str, Any],
    detail: Mapping[str, Any], default_mode: str,
) -> Access:
    """The mode and owner wanted, what was not asked for taken from what is there, or from the account if nothing is."""
    exists = facts["kind"] != "absent"
    now: Mapping[str, Any] | None = facts if exists else detail.get("account")
    mode = f"{parse_mode(wanted_mode):04o}" if wanted_mode is not None else facts["mode"] if exists else default_mode
    after: dict[str, Any] | None = None if now is None else {key: now[key] for key in ("uid", "gid", "owner", "group")}
    asked: dict[str, tuple[int, str]] = detail.get("wanted", {})
    for key, name_key, given in (("uid", "owner", owner), ("gid", "group", group)):
        if given is None or (now is not None and given in (now[name_key], str(now[key]))):
            continue
        if after is not None and key in asked:
            after[key], after[name_key] = asked[key]
        elif after is not None and given.isdigit() and "wanted" in detail:  # a number that has no name there
            after[key], after[name_key] = int(given), str(int(given))
        else:
            after = None
            break
    diff = []
    if exists and facts["mode"] != mode:
        diff.append(FieldDiff("mode", facts["mode"], mode))
    for name_key, key, given in (("owner", "uid", owner), ("group", "gid", group)):
        if after is None and exists and given is not None and given not in (facts[name_key], str(facts[key])):
            diff.append(FieldDiff(name_key, facts[name_key], given))
        elif after is not None and exists and after[key] != facts[key]:
            diff.append(FieldDiff(name_key, facts[name_key], after[name_key]))
    if after is not None:
        chown = f"{after['uid']}:{after['gid']}"
    elif now is not None:
        chown = f"{owner if owner is not None else now['uid']}:{group if group is not None else now['gid']}"
    else:
        chown = (owner or "") + (f":{group}" if group else "")
    return Access(mode, chown, None if after is None else {"mode": mode, **after}, tuple(diff))


def text_of(content: bytes) -> str | None:
    """``content`` for a diff, or None for binary."""
    if b"\0" in content:
        return None
    try:
        return neutral(content.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def slash_mistake(raw: Mapping[str, Any], key: str = "path") -> list[tuple[tuple[str | int, ...], str]]:
    """The static mistake of a file's path that ends as a folder's does."""
    path = raw.get(key)
    if isinstance(path, str) and path.endswith("/") and not has_marker(path):
        return [((key,), f"{key} names a file but ends with a slash: {path!r}")]
    return []


def size_text(size: int) -> str:
    """``312 B``, ``4.2 kB``, ``1.3 MB``"""
    if size < 1000:
        return f"{size} B"
    amount, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"
