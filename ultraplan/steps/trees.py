"""Steps that move trees between the controller and the hosts: `copy` and `fetch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, BinaryIO, ClassVar

from msgspec import Meta

from ultraplan.language.values import parse_mode
from ultraplan.shell import Program, Reply
from ultraplan.steps import treechange
from ultraplan.steps.base import Change, HostStep, State
from ultraplan.steps.fetching import FetchStep
from ultraplan.steps.manifests import Entry, Patterns, lacks, look, of_folder, read, root_of
from ultraplan.steps.params import AbsolutePath, Mode, SourceFile
from ultraplan.steps.pathstate import Group, Owner, reach_of, slash_mistake, tidy
from ultraplan.steps.treechange import Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyParams:
    """What to copy, and where to."""

    source: Annotated[SourceFile, Meta(description="A file or folder beside the plan. Symbolic links in it stay links")]
    path: Annotated[AbsolutePath, Meta(description=(
        "What the file or folder is to be on the host (not the folder to put it in). The folder above has to exist"))]
    mode: Annotated[Mode | None, Meta(description='Mode of the files, "0640". Default: as on the controller')] = None
    dir_mode: Annotated[Mode | None, Meta(description=(
        'Mode of the folders, "0750". Default: as on the controller for new ones, as they are for others'))] = None
    owner: Annotated[Owner | None, Meta(description=(
        "Owning account of all of it. Default: as it is; for what is new, the account that the step runs as"))] = None
    group: Annotated[Group | None, Meta(description="Owning group of all of it. Default: as for `owner`")] = None
    delete: Annotated[bool, Meta(description=(
        "Make it a mirror: remove what the source does not have, and replace what is of another kind"))] = False
    exclude: Patterns = field(default_factory=list)


class CopyStep(HostStep[CopyParams]):
    """A file or tree of the controller on a host. Only what differs is sent, and each file replaced in one step."""

    name = "copy"
    summary = "A file or a whole tree of the controller, on the host"
    Params = CopyParams
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "path": "the path on the host", "files": "how many files the source has", "size": "their bytes in all",
    }
    example = """\
- id: site
  copy:
    source: .
    path: "{{ inputs.root }}/site"
    dir_mode: "0755"
    mode: "0644"
    exclude: ["*.pyc", ".git"]
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return slash_mistake(raw) if str(raw.get("path", "")).strip("/") else []

    def resources(self, params: CopyParams) -> tuple[str, ...]:
        return (f"tree:{tidy(params.path)}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return reach_of(known, sort="tree")

    def probe(self, params: CopyParams) -> Program:
        wish = _wish(params)
        return look(wish.root, wish.tree, everything=wish.delete)

    def observe(self, params: CopyParams, reply: Reply) -> State:
        wish = _wish(params)
        found, owners = read(reply, wish.root, wish.owner, wish.group)
        return State(wish.facts(found), {"found": found, "owners": owners}, lacks(reply, wish.root))

    def decide(self, params: CopyParams, state: State) -> Change | None:
        change = treechange.decide(_wish(params), state.detail["found"], state.detail["owners"])
        return None if change is None else replace(change, outputs=self.outputs(params, state, None))

    def outputs(self, params: CopyParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        return summed(_wish(params))


def summed(wish: Wish) -> dict[str, Any]:
    """The outputs ``path``, ``files`` and ``size``."""
    files = [entry for entry in wish.tree.values() if entry.kind == "file"]
    return {"path": wish.root, "files": len(files), "size": sum(entry.size or 0 for entry in files)}


def _wish(params: CopyParams) -> Wish:
    tree = with_modes(of_folder(params.source.name, params.source.path, params.exclude), params.mode, params.dir_mode)
    free = {name for name, entry in tree.items() if entry.kind == "folder"} if params.dir_mode is None else ()
    source = params.source.path.resolve()

    def content(name: str) -> BinaryIO:
        return (source / name if name else source).open("rb")

    return Wish(root=root_of(params.path), tree=tree, content=content, owner=params.owner, group=params.group,
                free=free, delete=params.delete, exclude=params.exclude)


def with_modes(tree: Mapping[str, Entry], mode: str | None, dir_mode: str | None) -> dict[str, Entry]:
    """``tree`` with other modes of its files and folders, where given."""
    wanted = {"file": mode, "folder": dir_mode}
    return {
        name: entry if (given := wanted.get(entry.kind)) is None else replace(entry, mode=parse_mode(given))
        for name, entry in tree.items()
    }


STEPS = (CopyStep, FetchStep)
