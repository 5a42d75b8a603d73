"""Single paths: ``file``, and with it ``directory``, ``link`` and ``absent`` (`ultraplan.steps.folders`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ultraplan.shell import Program, Reply, quote
from ultraplan.steps.base import Change, HostStep, State, StepFailed
from ultraplan.steps.content import Content, content_diff, content_facts, replace, set_access
from ultraplan.steps.folders import AbsentStep, DirectoryStep, LinkStep
from ultraplan.steps.params import AbsolutePath, Mode, SourceFile, TemplateFile
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
    tidy,
)

Follow = Annotated[bool, Meta(description="Go through a symbolic link at the path; without it such a path is an error")]
NEW_MODE = 'Quoted octal mode, "0640". Default: as it is; for a new file "0644", or "0600" where secrets are in it'


@dataclass(frozen=True, slots=True, kw_only=True)
class FileParams:
    """What a file is to hold, and who may read it."""

    path: Annotated[AbsolutePath, Meta(description="The file's absolute path on the host; its folder must exist")]
    content: Annotated[str | None, Meta(description="The whole content")] = None
    source: Annotated[SourceFile | None, Meta(description="A file beside the plan, copied byte for byte")] = None
    template: Annotated[TemplateFile | None, Meta(description="A Jinja2 template beside the plan")] = None
    mode: Annotated[Mode | None, Meta(description=NEW_MODE)] = None
    owner: Annotated[Owner | None, Meta(description="Owning account. Default: as it is")] = None
    group: Annotated[Group | None, Meta(description="Owning group. Default: as it is")] = None
    follow: Follow = False


class FileStep(HostStep[FileParams]):
    """A file's content, mode and owner, replaced in one step; the file that was there comes back as the very same."""

    name: ClassVar[str] = "file"
    summary: ClassVar[str] = "A file's content, mode and owner"
    Params: ClassVar[type[Any]] = FileParams
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "path": "the file's path", "sha256": "its SHA-256 in hex (not where the plan puts secrets in it)"}
    example: ClassVar[str] = """\
- id: folder
  directory: {path: "{{ inputs.root }}/etc", mode: "0755"}

- id: config
  file:
    path: "{{ inputs.root }}/etc/app.conf"
    content: |
      listen = 8080
      workers = 4
    mode: "0640"
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """At most one content; something to do; a file's path."""
        given = [key for key in ("content", "source", "template") if raw.get(key) is not None]
        mistakes = slash_mistake(raw)
        if len(given) > 1:
            mistakes.append(((given[1],), f"{' and '.join(given)} exclude each other: a file has one content"))
        if not given and not any(raw.get(key) is not None for key in ("mode", "owner", "group")):
            mistakes.append(((), "nothing to do: give content, source or template, or a mode, owner or group"))
        return mistakes

    def resources(self, params: FileParams) -> tuple[str, ...]:
        """The path."""
        return (f"path:{tidy(params.path)}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The path."""
        return reach_of(known)

    def probe(self, params: FileParams) -> Program:
        """One look; content with secrets is compared on the host."""
        content = _content(params)
        path = quote(tidy(params.path))
        limit = -1 if content is None else SHOWN_LIMIT
        text = ask_accounts(params.owner, params.group)
        if params.follow:
            text, path = f"{text}up_resolve {path}\n", '"$up_at"'
        if content is not None and content.secret:
            text += f"{content.function()[0]}up_matches {path}\n"
        return Program(f"{text}up_look {path} {limit} sum\n", gentle=True)

    def observe(self, params: FileParams, reply: Reply) -> State:
        """Kind, mode, owner, and size and digest of the content where the step has one."""
        look = Look.read(reply, params.path)
        facts = look.facts()
        detail: dict[str, Any] = {"wanted": look.wanted, "account": look.account}
        content = _content(params)
        if look.kind == "file" and content is not None:
            raw = look.rest if "content" in look.fields else None
            facts |= content_facts(raw, look.fields, content.secret)
            detail["content"] = raw
        return State(facts, detail, look.lacks(params.path))

    def decide(self, params: FileParams, state: State) -> Change | None:
        """Nothing, a new mode or owner, or the content written anew."""
        path, facts = tidy(params.path), state.facts
        content = _content(params)
        _must_be_file(path, facts)
        exists = facts["kind"] == "file"
        if content is None and not exists:
            raise StepFailed(f"{path} does not exist, and the step gives it no content (content, source or template)")
        default = "0600" if content is not None and content.secret else "0644"
        wanted = access(params.mode, params.owner, params.group, facts, state.detail, default)
        if content is None or (exists and content.equals(facts)):
            return set_access(path, wanted, facts, resolve=params.follow) if wanted.diff else None
        size = "with secrets" if content.size is None else size_text(content.size)
        summary = f"create, {wanted.shown}, {size}"
        if exists:
            was = f"{size_text(facts['size'])} → " if "size" in facts and content.size is not None else ""
            summary = ", ".join(filter(None, [f"new content, {was}{size}", wanted.changes]))
        diff = content_diff(path, facts, state.detail.get("content"), content)
        return replace(path, content, wanted, content.facts(), diff, summary=summary, resolve=params.follow)

    def outputs(self, params: FileParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """``path`` and ``sha256``."""
        found = {"sha256": state.facts["sha256"]} if "sha256" in state.facts else {}
        return {"path": tidy(params.path), **found}


def _content(params: FileParams) -> Content | None:
    return Content.of_params(params.content, params.source, params.template)


def _must_be_file(path: str, facts: Mapping[str, Any]) -> None:
    kind = facts["kind"]
    if kind == "link":
        raise StepFailed(f"{path} is a symbolic link to {facts['target']!r}; name that file, or set `follow: true`")
    if kind == "directory":
        raise StepFailed(f"{path} is a directory; an `absent` step with `recursive: true` removes it first")
    if kind == "other":
        raise StepFailed(f"{path} is neither file, directory nor link (a device, socket or pipe)")


STEPS = (FileStep, DirectoryStep, LinkStep, AbsentStep)
