"""Steps about archives: ``archive`` and ``unarchive``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ultraplan.language.values import parse_mode
from ultraplan.secrets import has_marker, neutral
from ultraplan.shell import Program, Reply, join, quote
from ultraplan.steps import treechange
from ultraplan.steps.base import Change, FieldDiff, HostStep, State, StepFailed
from ultraplan.steps.listings import Listing
from ultraplan.steps.manifests import Patterns, lacks, look, read, root_of, storable
from ultraplan.steps.params import AbsolutePath, Mode, SourceFile
from ultraplan.steps.pathstate import Group, Owner, folder_of, reach_of, size_text, slash_mistake, tidy
from ultraplan.steps.tarballs import FORMATS, format_of, of_archive
from ultraplan.steps.treechange import Wish, known_accounts
from ultraplan.steps.trees import summed

_ENDINGS = ", ".join(FORMATS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveParams:
    """What to put into an archive, and where."""

    path: Annotated[AbsolutePath | list[AbsolutePath], Meta(description=(
        "A folder or file of the host, or several in one folder; each goes in under its own last name"))]
    dest: Annotated[AbsolutePath, Meta(description=f"The archive; its format is told by its end: {_ENDINGS}")]
    exclude: Patterns = field(default_factory=list)
    mode: Annotated[Mode, Meta(description='The archive\'s mode')] = "0600"
    force: Annotated[bool, Meta(description=(
        "Make it anew where anything in `path` is newer than it. Without it an archive that exists is left alone"
    ))] = False


class ArchiveStep(HostStep[ArchiveParams]):
    """A tar archive of things of the host, made whole or not at all."""

    name = "archive"
    summary = "A tar archive of files or folders of the host"
    Params = ArchiveParams
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "dest": "the archive's path", "size": "its size in bytes", "sha256": "its SHA-256 in hex",
        "entries": "how many members it has",
    }
    example = """\
- id: data
  command: {run: "mkdir data && echo 1 > data/one", chdir: "{{ inputs.root }}", creates: "{{ inputs.root }}/data"}
  undo:
    command: {argv: [rm, -r, "{{ inputs.root }}/data"]}

- id: backup
  archive: {path: "{{ inputs.root }}/data", dest: "{{ inputs.root }}/data.tar.gz", exclude: ["*.tmp"]}
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return slash_mistake(raw, "dest") + _format_mistake(raw, "dest")

    def resources(self, params: ArchiveParams) -> tuple[str, ...]:
        return (*(f"tree:{tidy(path)}" for path in _paths(params)), f"path:{tidy(params.dest)}")

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return reach_of(known, "dest")

    def probe(self, params: ArchiveParams) -> Program:
        every = "1" if params.force else ""
        return Program(f"up_tar_about {join([root_of(params.dest), _format(params.dest), every, *_paths(params)])}\n")

    def observe(self, params: ArchiveParams, reply: Reply) -> State:
        if reply.exit != 0:
            raise StepFailed(neutral(reply.error_text).strip() or f"cannot look at {params.dest}")
        told = dict(line.partition("=")[::2] for line in reply.text.splitlines())
        facts: dict[str, Any] = {"kind": told["kind"]}
        if told["kind"] == "file":
            facts |= {"mode": f"{int(told['mode'], 8):04o}", "size": int(told["size"]), "sha256": told["sha256"],
                      "entries": int(told.get("entries", 0)), "older": "older" in told}
        return State(facts, lacks=(folder_of(root_of(params.dest)),) if "orphan" in told else ())

    def decide(self, params: ArchiveParams, state: State) -> Change | None:
        dest, facts = root_of(params.dest), state.facts
        paths = _paths(params)
        if facts["kind"] == "other":
            raise StepFailed(f"{dest} is no file")
        for path in paths:
            if f"{dest}/".startswith(f"{path}/"):
                raise StepFailed(f"{dest} lies in what is to be archived")
        there = facts["kind"] == "file"
        if there and facts["entries"] == 0 and not params.force:
            raise StepFailed(
                f"{dest} exists and is no {_format(dest)} archive, or an empty one (`force: true` replaces it)")
        if there and not facts["older"] and facts["entries"]:
            return None
        folder = paths[0].rpartition("/")[0]
        names = [f"./{path.rpartition('/')[2]}" for path in paths]
        what = ", ".join(storable(path) for path in paths)
        before = None if not there else f"{size_text(facts['size'])}, sha256 {facts['sha256'][:12]}"
        words = [dest, _format(dest), f"0{parse_mode(params.mode):04o}", folder, _choice(params, names), *names]
        return Change(
            summary=f"{'replace' if there else 'create'}, of {what}",
            diff=(FieldDiff("archive", before, f"of {what}"),),
            forward=Program(f"up_tar_pack {join(words)}\n"),
            reverse=Program(f"up_back {quote(dest)}\n"),
            outputs={"dest": dest},
            touches=(f"path:{dest}",),
        )

    def outputs(self, params: ArchiveParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        found = {key: state.facts[key] for key in ("size", "sha256", "entries") if key in state.facts}
        return {"dest": root_of(params.dest), **found}


def _paths(params: ArchiveParams) -> list[str]:
    paths = [root_of(path) for path in ([params.path] if isinstance(params.path, str) else params.path)]
    if len({path.rpartition("/")[0] for path in paths}) != 1 or len(set(paths)) != len(paths):
        raise StepFailed("path: things that go into one archive have to be in one folder, and each once")
    return paths


def _format(name: str) -> str:
    try:
        return format_of(name)
    except ValueError as error:
        raise StepFailed(str(error)) from None


def _format_mistake(raw: Mapping[str, Any], key: str) -> list[tuple[tuple[str | int, ...], str]]:
    name = raw.get(key)
    if not isinstance(name, str) or "{{" in name or "{%" in name or has_marker(name):
        return []
    try:
        format_of(name)
    except ValueError as error:
        return [((key,), str(error))]
    return []


def _choice(params: ArchiveParams, names: list[str]) -> str:
    """The quoted words of a `find` expression that leaves out what is excluded."""
    words: list[str] = []
    for pattern in (pattern.rstrip("/") for pattern in params.exclude):
        if "/" in pattern:
            for name in names:
                words += ["-o", "-path", f"{_literal(name)}/{pattern.lstrip('/')}"]
        else:
            words += ["-o", "-name", pattern]
    return f"\\( {join(words[1:])} \\) -prune -o" if words else ""


def _literal(name: str) -> str:
    """``name`` in a pattern that stands for itself."""
    return re.sub(r"([*?\[\\])", r"\\\1", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnarchiveParams:
    """What to unpack, and where."""

    dest: Annotated[AbsolutePath, Meta(description=(
        "The folder to unpack into; made where it is missing, if the folder above exists"))]
    source: Annotated[SourceFile | None, Meta(description=f"An archive beside the plan: {_ENDINGS}")] = None
    src: Annotated[AbsolutePath | None, Meta(description=f"An archive on the host: {_ENDINGS}")] = None
    strip: Annotated[int, Meta(ge=0, le=50, description="How many leading components of names to leave out")] = 0
    delete: Annotated[bool, Meta(description="Make it a mirror: what is not in the archive goes")] = False
    owner: Annotated[Owner | None, Meta(description=(
        "Owning account of all of it. Default: with `src` as in the archive (as far as the account may), with `source` "
        "as it is, or the account that the step runs as"))] = None
    group: Annotated[Group | None, Meta(description="Owning group of all of it. Default: as for `owner`")] = None
    creates: Annotated[AbsolutePath | None, Meta(description="Where this path exists, there is nothing to do")] = None
    outside_links: Annotated[bool, Meta(description=(
        "Take symbolic links that lead out of the archive, too; nothing is ever written through them"))] = False


class UnarchiveStep(HostStep[UnarchiveParams]):
    """An archive, unpacked beside its destination, checked, and then moved into place."""

    name = "unarchive"
    summary = "Unpack a tar archive of the controller or of the host"
    Params = UnarchiveParams
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "path": "the folder", "files": "how many files the archive has", "size": "their bytes in all"}
    example = """\
- id: data
  command: {run: "mkdir data && echo 1 > data/one", chdir: "{{ inputs.root }}", creates: "{{ inputs.root }}/data"}
  undo:
    command: {argv: [rm, -r, "{{ inputs.root }}/data"]}

- id: backup
  archive: {path: "{{ inputs.root }}/data", dest: "{{ inputs.root }}/data.tar.gz"}

- id: restore
  unarchive: {src: "{{ inputs.root }}/data.tar.gz", dest: "{{ inputs.root }}/restored", strip: 1}
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        given = [key for key in ("source", "src") if raw.get(key) is not None]
        mistakes = [mistake for key in given for mistake in _format_mistake(raw, key)]
        if len(given) == 2:
            mistakes.append((("src",), "`source` and `src` exclude each other"))
        return mistakes if given else [((), "needs `source` (beside the plan) or `src` (on the host)")]

    def resources(self, params: UnarchiveParams) -> tuple[str, ...]:
        archive = () if params.src is None else (f"path:{tidy(params.src)}",)
        return (*archive, f"tree:{tidy(params.dest)}")

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return reach_of(known, "dest", "tree")

    def probe(self, params: UnarchiveParams) -> Program:
        dest = root_of(params.dest)
        if params.source is not None:
            wish = _wish(params)
            text = look(dest, wish.tree, everything=wish.delete).text
        else:
            src = root_of(params.src or "")
            words = [src, _format(src), dest, str(params.strip), params.owner or "", params.group or "",
                     "1" if params.delete else ""]
            text = f"up_tar_look {join(words)}\n"
        if params.creates is not None:
            text = f"if up_there {quote(params.creates)}; then echo created; exit; fi\n{text}"
        return Program(text)

    def observe(self, params: UnarchiveParams, reply: Reply) -> State:
        if params.creates is not None and reply.exit == 0 and reply.stdout == b"created\n":
            return State({"created": True})
        if params.source is not None:
            wish = _wish(params)
            found, owners = read(reply, wish.root, wish.owner, wish.group)
            return State(wish.facts(found), {"found": found, "owners": owners}, lacks(reply, wish.root))
        listing = Listing.read(reply, params.src or "", params.strip)
        facts: dict[str, Any] = {"dest": listing.dest, "archive": listing.present}
        if listing.present:
            facts |= {"members": listing.digest, "differs": [storable(name) for name in listing.differs],
                      "extra": [storable(name) for name in listing.extra]}
        return State(facts, {"listing": listing}, (folder_of(root_of(params.dest)),) if listing.orphan else ())

    def decide(self, params: UnarchiveParams, state: State) -> Change | None:
        if state.facts.get("created"):
            return None
        if params.source is not None:
            wish = _wish(params)
            change = treechange.decide(wish, state.detail["found"], state.detail["owners"])
            change = None if change is None else replace(change, outputs=summed(wish))
        else:
            change = self._decide_listing(params, state.facts, state.detail["listing"])
        # What the probe says once the path exists is that, and no more.
        return change if change is None or params.creates is None else replace(change, after=None)

    def _decide_listing(self, params: UnarchiveParams, facts: Mapping[str, Any], listing: Listing) -> Change | None:
        src, dest = root_of(params.src or ""), root_of(params.dest)
        if facts["dest"] in ("link", "other"):
            raise StepFailed(f"{dest} is {'a symbolic link' if facts['dest'] == 'link' else 'no folder'} on the host")
        if f"{src}/".startswith(f"{dest}/") and params.delete:
            raise StepFailed(f"{src} lies in {dest}, where everything else is to be removed")
        listing.refuse(params.outside_links)
        if listing.present and facts["dest"] == "folder" and not (listing.differs or listing.extra):
            return None
        chown = (params.owner or "") + (f":{params.group}" if params.group is not None else "")
        unpack = f"up_tar_unpack {join([src, _format(src), str(params.strip), chown])}"
        if not params.outside_links:
            unpack += " && up_tar_links"
        replaced = params.delete or facts["dest"] == "absent"
        entries = f'"$1" put {quote(dest)} x' if replaced else 'up_tree_walk "$1" ""'
        if params.delete and listing.access is not None:
            unpack += f" && up_tar_like {listing.access}"
        text = (f"{known_accounts(params.owner, params.group)}up_tree_stage() {{ {unpack}; }}\n"
                f"up_tree_entries() {{ {entries}; }}\nup_tree_apply {quote(dest)}\n")
        return Change(
            summary=listing.summary(facts["dest"] == "absent"),
            diff=listing.diff(dest),
            forward=Program(text),
            reverse=Program(f"up_tree_undo {quote(dest)}\n"),
            after={"dest": "folder", "archive": True, "members": listing.digest, "differs": [], "extra": []}
            if listing.present else None,
            outputs=listing.outputs(dest),
            touches=(f"path:{dest}",),
        )

    def outputs(self, params: UnarchiveParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        dest = root_of(params.dest)
        if params.source is not None:
            return summed(_wish(params))
        if "listing" not in state.detail:
            return {"path": dest}
        outputs: Mapping[str, Any] = state.detail["listing"].outputs(dest)
        return outputs


def _wish(params: UnarchiveParams) -> Wish:
    if params.source is None:
        raise StepFailed("needs `source` or `src`")
    ball = of_archive(params.source.name, params.source.path, params.strip, params.outside_links)
    return Wish(root=root_of(params.dest), tree=ball.tree, content=ball.content, owner=params.owner,
                group=params.group, free=ball.free, delete=params.delete)


STEPS = (ArchiveStep, UnarchiveStep)
