"""``directory``, ``link`` and ``absent``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ultraplan.secrets import has_marker
from ultraplan.shell import Program, Reply, quote
from ultraplan.steps.base import Change, Diff, FieldDiff, HostStep, State, StepFailed, TextDiff
from ultraplan.steps.content import set_access
from ultraplan.steps.params import AbsolutePath, Mode
from ultraplan.steps.pathstate import (
    SHOWN_LIMIT,
    Group,
    Look,
    Owner,
    access,
    ask_accounts,
    reach_of,
    size_text,
    slash_mistake,
    target_text,
    text_of,
    tidy,
)

Mistakes = list[tuple[tuple[str | int, ...], str]]

_SYSTEM = frozenset((
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt", "opt", "proc",
    "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryParams:
    """A folder that is to be there."""

    path: Annotated[AbsolutePath, Meta(description="The folder's absolute path on the host")]
    mode: Annotated[Mode | None, Meta(description='Quoted octal mode. Default: as it is; "0755" for a new one')] = None
    owner: Annotated[Owner | None, Meta(description="Owning account. Default: as it is")] = None
    group: Annotated[Group | None, Meta(description="Owning group. Default: as it is")] = None
    parents: Annotated[bool, Meta(description=(
        "Make missing folders above it too, with the same mode and owner"))] = True


class DirectoryStep(HostStep[DirectoryParams]):
    """A folder, with its mode and owner; what was made is removed again, if nobody put anything into it."""

    name: ClassVar[str] = "directory"
    summary: ClassVar[str] = "A folder, its mode and owner"
    Params: ClassVar[type[Any]] = DirectoryParams
    shorthand: ClassVar[str | None] = "path"
    outputs_doc: ClassVar[Mapping[str, str]] = {"path": "the folder's path"}
    example: ClassVar[str] = """\
- id: releases
  directory:
    path: "{{ inputs.root }}/srv/app/releases"
    mode: "0750"
"""

    def resources(self, params: DirectoryParams) -> tuple[str, ...]:
        """The path."""
        return (f"path:{tidy(params.path)}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The path."""
        return reach_of(known)

    def probe(self, params: DirectoryParams) -> Program:
        """One look, without content."""
        asked = ask_accounts(params.owner, params.group)
        return Program(f"{asked}up_look {quote(tidy(params.path))} -1\n", gentle=True)

    def observe(self, params: DirectoryParams, reply: Reply) -> State:
        """Kind, mode and owner."""
        look = Look.read(reply, params.path)
        return State(look.facts(), {"wanted": look.wanted, "account": look.account},
                     () if params.parents else look.lacks(params.path))

    def decide(self, params: DirectoryParams, state: State) -> Change | None:
        """Nothing, a new mode or owner, or a new folder."""
        path, facts = tidy(params.path), state.facts
        if facts["kind"] == "link":
            raise StepFailed(f"{path} is a symbolic link to {facts['target']!r}; name the folder itself")
        if facts["kind"] not in ("absent", "directory"):
            raise StepFailed(f"{path} exists and is no directory; an `absent` step removes it first")
        wanted = access(params.mode, params.owner, params.group, facts, state.detail, "0755")
        if facts["kind"] == "directory":
            return set_access(path, wanted, facts) if wanted.diff else None
        at = quote(path)
        return Change(
            summary=f"create folder, {wanted.shown}",
            diff=(FieldDiff("kind", "absent", "directory"), FieldDiff("mode", None, wanted.mode)),
            forward=Program(f"up_mkdirs {at} {wanted.chmod} {quote(wanted.chown)} {int(params.parents)}\n"),
            reverse=Program(f"up_rmdirs {at}\n"),
            after=None if wanted.facts is None else {"kind": "directory", **wanted.facts},
            outputs={"path": path},
            touches=(f"path:{path}",),
        )

    def outputs(self, params: DirectoryParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """``path``."""
        return {"path": tidy(params.path)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkParams:
    """A link, and what it leads to."""

    path: Annotated[AbsolutePath, Meta(description="The link's absolute path on the host; its folder must exist")]
    target: Annotated[str, Meta(min_length=1, description=(
        "What it leads to; a symbolic link's may be relative to its folder, and need not exist"))]
    hard: Annotated[bool, Meta(description="A hard link instead of a symbolic one")] = False
    force: Annotated[bool, Meta(description="Replace a file that is there; it comes back with the undo")] = False


class LinkStep(HostStep[LinkParams]):
    """A symbolic or hard link, replaced in one step. A symbolic link that leads elsewhere is always replaced."""

    name: ClassVar[str] = "link"
    summary: ClassVar[str] = "A symbolic or hard link"
    Params: ClassVar[type[Any]] = LinkParams
    outputs_doc: ClassVar[Mapping[str, str]] = {"path": "the link's path", "target": "what it leads to"}
    example: ClassVar[str] = """\
- id: releases
  directory: {path: "{{ inputs.root }}/srv/app/releases/2.1"}

- id: current
  link:
    path: "{{ inputs.root }}/srv/app/current"
    target: releases/2.1
"""

    def check(self, raw: Mapping[str, Any]) -> Mistakes:
        """A link's path, and an absolute target for a hard one."""
        mistakes = slash_mistake(raw)
        target = raw.get("target")
        if raw.get("hard") is True and isinstance(target, str) and not target.startswith(("/", "{")):
            mistakes.append((("target",), "a hard link's target is an absolute path"))
        return mistakes

    def resources(self, params: LinkParams) -> tuple[str, ...]:
        """The path, and a hard link's target."""
        return (f"path:{tidy(params.path)}", *([f"path:{tidy(params.target)}"] if params.hard else []))

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The path."""
        return reach_of(known)

    def probe(self, params: LinkParams) -> Program:
        """One look; for a hard link, whether both are one file."""
        at, text = quote(tidy(params.path)), ""
        if params.hard:
            text = f"[ -L {at} ] || ! [ {at} -ef {quote(tidy(params.target))} ] || echo one=1\n"
        return Program(f"{text}up_look {at} -1\n", gentle=True)

    def observe(self, params: LinkParams, reply: Reply) -> State:
        """The kind; a symbolic link's target; for a hard link, whether it is one."""
        look = Look.read(reply, params.path)
        facts = {key: value for key, value in look.facts().items() if key in ("kind", "target")}
        if params.hard:
            facts["same"] = "one" in look.fields
        return State(facts, lacks=look.lacks(params.path))

    def decide(self, params: LinkParams, state: State) -> Change | None:
        """Nothing, or the link made anew."""
        path, facts, kind = tidy(params.path), state.facts, state.facts["kind"]
        if has_marker(params.target):
            raise StepFailed("a link's target cannot hold a secret: everybody on the host could read it")
        target = tidy(params.target) if params.hard else params.target
        after = {"kind": "file", "same": True} if params.hard else {
            "kind": "link", "target": target_text(target.encode("utf-8", "surrogateescape"))}
        if facts.get("same") if params.hard else facts == after:
            return None
        if params.hard and not target.startswith("/"):
            raise StepFailed(f"a hard link's target is an absolute path, not {target!r}")
        if kind == "directory":
            raise StepFailed(f"{path} is a directory; an `absent` step with `recursive: true` removes it first")
        if kind in ("file", "other") and not params.force:
            raise StepFailed(f"{path} exists and is no symbolic link; `force: true` replaces it")
        was = {"absent": None, "link": f"link to {facts.get('target')}"}.get(kind, kind)
        becomes = f"{'hard ' if params.hard else ''}link to {target}"
        at = quote(path)
        return Change(
            summary=f"{'replace' if was else 'create'}, {becomes}",
            diff=(FieldDiff("kind", was, becomes),),
            forward=Program(
                f"up_link {at} {quote(target)} {quote('' if params.hard else '-s')} {int(params.force)}\n"),
            reverse=Program(f"up_back {at}\n"),
            after=after,
            outputs={"path": path, "target": target},
            touches=(f"path:{path}",),
        )

    def outputs(self, params: LinkParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """``path`` and ``target``."""
        return {"path": tidy(params.path), "target": tidy(params.target) if params.hard else params.target}


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentParams:
    """Something that is not to be there."""

    path: Annotated[AbsolutePath, Meta(description="The absolute path on the host of a file, link or folder")]
    recursive: Annotated[bool, Meta(description="Remove a folder with all that is in it")] = False


class AbsentStep(HostStep[AbsentParams]):
    """Nothing at a path. What was there is kept in the host's state folder (on the same file system by renaming it)."""

    name: ClassVar[str] = "absent"
    summary: ClassVar[str] = "No file, link or folder at a path"
    Params: ClassVar[type[Any]] = AbsentParams
    shorthand: ClassVar[str | None] = "path"
    outputs_doc: ClassVar[Mapping[str, str]] = {"path": "the path"}
    example: ClassVar[str] = """\
- id: cache
  directory: {path: "{{ inputs.root }}/var/cache/app"}

- id: no-cache
  absent: {path: "{{ inputs.root }}/var/cache/app", recursive: true}
"""

    def check(self, raw: Mapping[str, Any]) -> Mistakes:
        """Not ``/``, not a system's own folder, no ``..``."""
        path = raw.get("path")
        why = _never(path) if isinstance(path, str) and "{{" not in path and not has_marker(path) else None
        return [(("path",), why)] if why else []

    def resources(self, params: AbsentParams) -> tuple[str, ...]:
        """The path."""
        return (f"{'tree' if params.recursive else 'path'}:{tidy(params.path)}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The path and all below it."""
        return reach_of(known, sort="tree")

    def probe(self, params: AbsentParams) -> Program:
        """One look, with the content of a small file."""
        at = quote(tidy(params.path))
        return Program(f"up_look_removal {at}\nup_look {at} {SHOWN_LIMIT}\n", gentle=True)

    def observe(self, params: AbsentParams, reply: Reply) -> State:
        """Kind, mode and owner; a file's size, and if it is small, its digest."""
        look = Look.read(reply, params.path)
        facts, detail = look.facts(), {key: True for key in ("top", "mount") if key in look.fields}
        if look.kind == "absent":
            return State({"kind": "absent"}, detail)
        if look.kind == "file":
            facts["size"] = int(look.fields["size"])
            if "content" in look.fields:
                facts |= {"size": len(look.rest), "sha256": hashlib.sha256(look.rest).hexdigest()}
                return State(facts, {**detail, "content": look.rest})
        return State(facts, detail)

    def decide(self, params: AbsentParams, state: State) -> Change | None:
        """Nothing, or the removal."""
        path, facts, kind = tidy(params.path), state.facts, state.facts["kind"]
        why = _never(params.path)
        if why:
            raise StepFailed(why)
        if kind == "absent":
            return None
        if kind == "directory":
            if not params.recursive:
                raise StepFailed(f"{path} is a directory; `recursive: true` removes it with all that is in it")
            if "top" in state.detail:
                raise StepFailed(f"{path} is a top-level directory of the host; those are never removed")
            if "mount" in state.detail:
                raise StepFailed(f"{path} is a mount point, or holds one; unmount it first")
        shown = {"link": f"link to {facts.get('target')}", "directory": "directory with all that is in it",
                 "file": f"file, {size_text(facts.get('size', 0))}"}.get(kind, kind)
        text = text_of(state.detail["content"]) if "content" in state.detail else None
        diff: tuple[Diff, ...] = (FieldDiff("kind", shown, "absent"),)
        at = quote(path)
        return Change(
            summary=f"remove {shown}",
            diff=diff if text is None else (TextDiff(path, text, None),),
            forward=Program(f"up_remove {at} {int(params.recursive)}\n"),
            reverse=Program(f"up_return {at}\n"),
            after={"kind": "absent"},
            outputs={"path": path},
            touches=self.resources(params),
        )

    def outputs(self, params: AbsentParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """``path``."""
        return {"path": tidy(params.path)}


def _never(path: str) -> str | None:
    """Why nothing may ever be removed at ``path``, or None."""
    if ".." in path.split("/"):
        return f"{path!r} holds '..'; name the path itself"
    parts = tidy(path).split("/")[1:]
    if parts == [""]:
        return "the root directory cannot be removed"
    if len(parts) == 1 and parts[0] in _SYSTEM:
        return f"{path!r} is a directory of the system itself"
    return None
