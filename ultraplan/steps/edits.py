"""Parts of a text file: ``lineinfile`` and ``blockinfile``. The whole new text is worked out here, from what the probe
read, and written as the ``file`` step does."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from msgspec import Meta

from ultraplan.secrets import has_marker
from ultraplan.shell import Program, Reply, plain, quote
from ultraplan.steps.base import Change, Diff, FieldDiff, HostStep, State, StepFailed, TextDiff
from ultraplan.steps.content import Content, replace, set_access, shown_text
from ultraplan.steps.folders import Mistakes
from ultraplan.steps.params import AbsolutePath, Mode
from ultraplan.steps.pathstate import Group, Look, Owner, access, ask_accounts, reach_of, size_text, slash_mistake, tidy
from ultraplan.steps.textedit import Place, bare, drop_lines, put_block, put_line, split

EDIT_LIMIT = 1024 * 1024
"""Files of more bytes than this are not edited."""

Regex = Annotated[str, Meta(description="A regular expression (Python's), searched in each line")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditParams:
    """What both edits share."""

    path: Annotated[AbsolutePath, Meta(description="The file's absolute path on the host")]
    state: Annotated[Literal["present", "absent"], Meta(description="Whether it is to be there")] = "present"
    insertafter: Annotated[str | None, Meta(description=(
        "Where it goes if it is new: after the last line that this expression matches, EOF (default), or BOF"))] = None
    insertbefore: Annotated[str | None, Meta(description=(
        "Where it goes if it is new: before the last line that this expression matches, or BOF"))] = None
    create: Annotated[bool, Meta(description="Make the file if it is not there; without it that is an error")] = False
    mode: Annotated[Mode | None, Meta(description="Quoted octal mode. Default: as it is")] = None
    owner: Annotated[Owner | None, Meta(description="Owning account. Default: as it is")] = None
    group: Annotated[Group | None, Meta(description="Owning group. Default: as it is")] = None
    follow: Annotated[bool, Meta(description="Go through a symbolic link at the path")] = False


E = TypeVar("E", bound=EditParams)


class EditStep(HostStep[E]):
    """The common part: from the text that is there to the text that is to be there."""

    outputs_doc: ClassVar[Mapping[str, str]] = {
        "path": "the file's path", "sha256": "its SHA-256 in hex (not where the step puts secrets in it)"}

    @abstractmethod
    def edit(self, params: E, text: str) -> str:
        """The text as it is to be."""

    @abstractmethod
    def lines(self, params: E) -> tuple[str, ...]:
        """The lines that the step puts in; those with secrets are looked for on the host."""

    def check(self, raw: Mapping[str, Any]) -> Mistakes:
        """One place, and expressions that are expressions."""
        mistakes = slash_mistake(raw)
        if raw.get("insertafter") is not None and raw.get("insertbefore") is not None:
            mistakes.append((("insertbefore",), "insertafter and insertbefore exclude each other"))
        for key in ("regexp", "insertafter", "insertbefore"):
            value = raw.get(key)
            if isinstance(value, str) and "{{" not in value and "{%" not in value:
                try:
                    re.compile(value)
                except re.error as error:
                    mistakes.append(((key,), f"{key} is no regular expression: {error}"))
        return mistakes

    def resources(self, params: E) -> tuple[str, ...]:
        """The path."""
        return (f"path:{tidy(params.path)}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The path."""
        return reach_of(known)

    def probe(self, params: E) -> Program:
        """The whole text; and where lines with secrets stand already, so that these never come to the controller."""
        at, text = quote(tidy(params.path)), ask_accounts(params.owner, params.group)
        if params.follow:
            text, at = f"{text}up_resolve {at}\n", '"$up_at"'
        secret = [line for line in self.lines(params) if has_marker(line)]
        if secret:
            text += f"up_same_lines {at} {' '.join(map(quote, secret))}\n"
        return Program(f"{text}up_look {at} {EDIT_LIMIT}\n")

    def observe(self, params: E, reply: Reply) -> State:
        """Kind, mode, owner, size and digest. In a text that holds the step's secrets these count as markers."""
        look = Look.read(reply, params.path)
        facts = look.facts()
        detail: dict[str, Any] = {"wanted": look.wanted, "account": look.account}
        if look.kind == "file":
            if "content" not in look.fields:
                raise StepFailed(
                    f"{params.path} has {size_text(int(look.fields['size']))}; files of more than "
                    f"{EDIT_LIMIT // 1024} KiB are not edited line by line: use a `file` step or a `command`")
            secret = [line for line in self.lines(params) if has_marker(line)]
            lines = split(plain(look.rest))
            for number, candidate in look.same.items():
                if number <= len(lines):
                    lines[number - 1] = secret[candidate - 1] + lines[number - 1][len(bare(lines[number - 1])):]
            text = "".join(lines)
            facts |= _text_facts(text)
            detail["text"] = text
            if not look.same:  # a digest that depends on a secret never leaves the host
                detail["digest"] = hashlib.sha256(look.rest).hexdigest()
        return State(facts, detail, look.lacks(params.path))

    def decide(self, params: E, state: State) -> Change | None:
        """Nothing, a new mode or owner, or the whole text written anew."""
        path, facts = tidy(params.path), state.facts
        if facts["kind"] == "link":
            raise StepFailed(f"{path} is a symbolic link to {facts['target']!r}; name that file, or set `follow: true`")
        if facts["kind"] not in ("file", "absent"):
            raise StepFailed(f"{path} is no file but: {facts['kind']}")
        exists = facts["kind"] == "file"
        if not exists:
            if params.state == "absent":
                return None
            if not params.create:
                raise StepFailed(f"{path} does not exist; `create: true` makes it")
        text = state.detail.get("text", "")
        try:
            new = self.edit(params, text)
        except (re.error, IndexError) as error:
            raise StepFailed(f"{path}: bad regular expression or group: {error}") from None
        default = "0600" if has_marker(new) else "0644"
        wanted = access(params.mode, params.owner, params.group, facts, state.detail, default)
        if exists and new == text:
            return set_access(path, wanted, facts, resolve=params.follow) if wanted.diff else None
        summary = _summary(text, new) if exists else f"create, {wanted.shown}"
        return replace(
            path, Content.of_text(new), wanted, _text_facts(new), _text_diff(path, text if exists else None, new),
            summary=", ".join(filter(None, [summary, wanted.changes])), unchanged=state.detail.get("digest", ""),
            resolve=params.follow)

    def outputs(self, params: E, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """``path`` and ``sha256``."""
        found = {"sha256": state.facts["sha256"]} if "digest" in state.detail else {}
        return {"path": tidy(params.path), **found}


def _text_facts(text: str) -> dict[str, Any]:
    raw = text.encode("utf-8", "surrogateescape")
    return {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _text_diff(path: str, before: str | None, after: str) -> tuple[Diff, ...]:
    old, new = None if before is None else shown_text(before), shown_text(after)
    if new is not None and (old is not None or before is None):
        return (TextDiff(path, old, new),)
    return (FieldDiff("content", None if before is None else size_text(_text_facts(before)["size"]),
                      size_text(_text_facts(after)["size"])),)


def _summary(before: str, after: str) -> str:
    old, new = Counter(split(before)), Counter(split(after))
    return f"edit, +{(new - old).total()} −{(old - new).total()} lines"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineParams(EditParams):
    """A line of a file."""

    line: Annotated[str | None, Meta(description="The line, without its end")] = None
    regexp: Annotated[Regex | None, Meta(description=(
        "Replaces the last line that it matches (`state: absent`: removes all); else it is added"))] = None
    firstmatch: Annotated[bool, Meta(description="The first line that matches counts, not the last")] = False
    backrefs: Annotated[bool, Meta(description=(
        r"Fill groups of the match (\1, \g<name>) into the line; nothing is done without a match"))] = False


class LineStep(EditStep[LineParams]):
    """One line of a text file, as Ansible's lineinfile."""

    name: ClassVar[str] = "lineinfile"
    summary: ClassVar[str] = "One line in a text file"
    Params: ClassVar[type[Any]] = LineParams
    example: ClassVar[str] = """\
- id: folder
  directory: {path: "{{ inputs.root }}/etc"}

- id: workers
  lineinfile:
    path: "{{ inputs.root }}/etc/app.conf"
    regexp: "^workers *="
    line: workers = 8
    create: true
"""

    def check(self, raw: Mapping[str, Any]) -> Mistakes:
        """A line to put in, or something to say which lines go."""
        mistakes = super().check(raw)
        line, regexp = raw.get("line"), raw.get("regexp")
        if raw.get("state", "present") == "present" and line is None:
            mistakes.append(((), "line is missing: it says what is to be in the file"))
        if raw.get("state") == "absent" and line is None and regexp is None:
            mistakes.append(((), "give line or regexp: they say which lines go"))
        if raw.get("backrefs") is True and regexp is None:
            mistakes.append((("backrefs",), "backrefs fills in groups of regexp, and there is no regexp"))
        if isinstance(line, str) and "{%" not in line and "{{" not in line and "\n" in line:
            mistakes.append((("line",), "a line holds no newline; `blockinfile` puts in several lines"))
        return mistakes

    def lines(self, params: LineParams) -> tuple[str, ...]:
        """The line."""
        return () if params.line is None else (params.line,)

    def edit(self, params: LineParams, text: str) -> str:
        """The text with the line, or without it."""
        if params.state == "absent":
            return drop_lines(text, params.line, params.regexp)
        if params.line is None or "\n" in params.line:
            raise StepFailed("a line holds no newline; `blockinfile` puts in several lines")
        place = Place(after=params.insertafter, before=params.insertbefore, first=params.firstmatch)
        return put_line(text, params.line, params.regexp, place, backrefs=params.backrefs)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockParams(EditParams):
    """Lines of a file, between two marker lines."""

    block: Annotated[str, Meta(description="The lines; none takes the block and its markers away")] = ""
    marker: Annotated[str, Meta(pattern=r"\{mark\}", description=(
        "The marker lines; {mark} becomes marker_begin above the block and marker_end below"))] = (
            "# {mark} ULTRAPLAN MANAGED BLOCK")
    marker_begin: Annotated[str, Meta(description="What {mark} becomes above the block")] = "BEGIN"
    marker_end: Annotated[str, Meta(description="What {mark} becomes below the block")] = "END"


class BlockStep(EditStep[BlockParams]):
    """Several lines of a text file between two marker lines, as Ansible's blockinfile."""

    name: ClassVar[str] = "blockinfile"
    summary: ClassVar[str] = "Lines in a text file, between two markers"
    Params: ClassVar[type[Any]] = BlockParams
    example: ClassVar[str] = """\
- id: folder
  directory: {path: "{{ inputs.root }}/etc"}

- id: peers
  blockinfile:
    path: "{{ inputs.root }}/etc/hosts"
    create: true
    block: |
      192.0.2.10 db1
      192.0.2.11 db2
"""

    def check(self, raw: Mapping[str, Any]) -> Mistakes:
        """Two markers that differ."""
        mistakes = super().check(raw)
        if raw.get("marker_begin", "BEGIN") == raw.get("marker_end", "END"):
            mistakes.append((("marker_end",), "marker_begin and marker_end are the same; they have to differ"))
        return mistakes

    def lines(self, params: BlockParams) -> tuple[str, ...]:
        """The block's lines."""
        return tuple(map(bare, split(params.block)))

    def edit(self, params: BlockParams, text: str) -> str:
        """The text with the block, or without it."""
        begin, end = (params.marker.replace("{mark}", mark) for mark in (params.marker_begin, params.marker_end))
        if begin == end or "\n" in begin + end:
            raise StepFailed("the two marker lines have to differ, and to be one line each")
        place = Place(after=params.insertafter, before=params.insertbefore)
        return put_block(text, params.block if params.state == "present" else "", begin, end, place)


STEPS = (LineStep, BlockStep)
