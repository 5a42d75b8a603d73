"""Fetching files and trees from a host: the ``fetch`` step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import quote as url_quote

from msgspec import Meta

from ultraplan.shell import Program, join, quote
from ultraplan.steps.base import Change, Context, ControllerStep, FieldDiff, State, StepFailed
from ultraplan.steps.localtree import LocalTree, digest_of
from ultraplan.steps.manifests import Entry, Patterns, Tree, contents, excluded, of_folder, read, root_of, storable
from ultraplan.steps.params import AbsolutePath
from ultraplan.steps.pathstate import size_text, tidy
from ultraplan.steps.tarballs import leads_out

_SMALL = 32 * 1024
"""Files up to this many bytes come together, several in one answer."""

_BATCH = 256 * 1024
"""Bytes that one answer is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchParams:
    """What to fetch, and where to."""

    path: Annotated[AbsolutePath, Meta(description="A file or folder of the host")]
    to: Annotated[str, Meta(min_length=1, description=(
        "A folder of the controller, beside the plan or absolute; what is fetched goes to TO/HOST/NAME"))]
    flat: Annotated[bool, Meta(description="Take `to` for the file or folder itself, for one host's sake")] = False
    exclude: Patterns = field(default_factory=list)
    fail_on_missing: Annotated[bool, Meta(description="Whether a path that is not there is a failure")] = True


class FetchStep(ControllerStep[FetchParams]):
    """A file or tree of a host on the controller: files 0600, folders 0700, nothing outside of its place."""

    name = "fetch"
    summary = "A file or a whole tree of the host, on the controller"
    Params = FetchParams
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "path": "where it is on the controller", "files": "how many files the host has", "size": "their bytes in all",
        "sha256": "the SHA-256 of a single file, in hex",
    }
    example = """\
- id: report
  file: {path: "{{ inputs.root }}/report.txt", content: "all is well"}

- id: collect
  fetch: {path: "{{ inputs.root }}/report.txt", to: "{{ inputs.root }}/collected"}
"""

    def resources(self, params: FetchParams) -> tuple[str, ...]:
        return (f"tree:{tidy(params.path)}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return ()  # nothing on the host

    def observe(self, params: FetchParams, context: Context) -> State:
        remote, local = _remote(params, context), _local(params, context)
        if local.is_symlink():
            raise StepFailed(f"{local} is a symbolic link; nothing is written through it")
        here = of_folder(str(local), local) if local.exists() else {}
        return State(
            {"remote": {storable(name): entry.facts() for name, entry in remote.items()},
             "local": {storable(name): here[name].facts() for name in remote if name in here}},
            {"remote": remote, "here": here, "local": local})

    def decide(self, params: FetchParams, state: State) -> Change | None:
        remote: Tree = state.detail["remote"]
        here: Tree = state.detail["here"]
        if not remote:
            if not params.fail_on_missing:
                return None
            return Change(summary=f"fetch {params.path}, which is not there yet")
        names = _different(remote, here)
        if not names:
            return None
        size = sum(remote[name].size or 0 for name in names if remote[name].kind == "file")
        return Change(
            summary=f"fetch {len(names)} of {len(remote)}, {size_text(size)}, to {state.detail['local']}",
            diff=tuple(FieldDiff(storable(name) or str(state.detail["local"]),
                                 here[name].shown if name in here else None,
                                 _wanted(remote[name]).shown) for name in names),
            after={"remote": state.facts["remote"], "local": {
                **state.facts["local"], **{storable(name): _wanted(remote[name]).facts() for name in names}}},
            outputs=self._outputs(remote, state.detail["local"]),
        )

    def act(self, params: FetchParams, state: State, context: Context) -> Mapping[str, Any]:
        now = self.observe(params, context)
        remote, local = now.detail["remote"], now.detail["local"]
        if not remote:
            raise StepFailed(f"{params.path} is not there")
        tree = LocalTree(context.preimage)
        tree.folder(local.parent)
        names = _different(remote, now.detail["here"])
        source = _Source(root_of(params.path), remote, context, [n for n in names if remote[n].kind == "file"])
        for name in names:
            entry, at = remote[name], local / name if name else local
            if entry.kind == "folder":
                tree.folder(at)
            elif entry.kind == "link":
                tree.link(at, entry.target or "")
            else:
                tree.file(at, entry.sha256 or "", source.filler(name))
        return self._outputs(remote, local)

    def undo(self, params: FetchParams, state: State, context: Context) -> None:
        LocalTree(context.preimage).undo()

    @staticmethod
    def _outputs(remote: Tree, local: Path) -> dict[str, Any]:
        files = [entry for entry in remote.values() if entry.kind == "file"]
        single = {"sha256": remote[""].sha256} if remote[""].kind == "file" else {}
        return {"path": str(local), "files": len(files), "size": sum(entry.size or 0 for entry in files), **single}


def _wanted(entry: Entry) -> Entry:
    """What ``entry`` of a host is to be on the controller."""
    return replace(entry, mode={"file": 0o600, "folder": 0o700}.get(entry.kind), owner=None, group=None)


def _different(remote: Tree, here: Tree) -> list[str]:
    names = []
    for name, entry in remote.items():
        wanted, there = _wanted(entry), here.get(name)
        if there is None or not wanted.same_content(there) or (entry.kind == "file" and not wanted.allows(there)):
            names.append(name)
    return names


def _remote(params: FetchParams, context: Context) -> dict[str, Entry]:
    """What the host has. What it says is not trusted: names that lead elsewhere are refused."""
    root = root_of(params.path)
    found, _ = read(context.host.run(contents(root)), root, None, None)
    tree = {name: entry for name, entry in found.items() if not (name and excluded(name, params.exclude))}
    for name, entry in tree.items():
        parent = name.rpartition("/")[0]
        if name and (not set(name.split("/")).isdisjoint(("", ".", "..")) or parent not in tree
                     or tree[parent].kind != "folder"):
            raise StepFailed(f"{context.host.name} tells of {storable(name)!r} below {root}, which cannot be")
        if entry.kind == "other":
            raise StepFailed(f"{storable(f'{root}/{name}')} is neither file, folder nor link (`exclude` leaves it out)")
        if entry.kind == "link" and leads_out(name, entry.target or ""):
            raise StepFailed(f"{storable(f'{root}/{name}'.rstrip('/'))} is a symbolic link that leads out of what is "
                             f"fetched, to {storable(entry.target or '')!r} (`exclude` leaves it out)")
    return tree


def _local(params: FetchParams, context: Context) -> Path:
    to = context.base / Path(params.to).expanduser()
    if params.flat:
        return to
    host = url_quote(context.host.name, safe=" ")
    return to / (host if host.strip(".") else host.replace(".", "%2E")) / root_of(params.path).rpartition("/")[2]


class _Source:
    """The files of a host: small ones come together, each is checked against the digest that the host told before."""

    def __init__(self, root: str, tree: Tree, context: Context, names: Sequence[str]) -> None:
        self._root, self._tree, self._context = root, tree, context
        self._waiting = list(names)
        self._here: dict[str, bytes] = {}

    def filler(self, name: str) -> Callable[[Path], None]:
        """Writes the file's content to a path; raises `StepFailed` where it is not as told."""
        return lambda path: self._fill(name, path)

    def _fill(self, name: str, path: Path) -> None:
        if name not in self._here:
            self._come(name)
        if name in self._here:
            path.write_bytes(self._here.pop(name))
        else:
            self._context.host.download(f"{self._root}/{name}".rstrip("/"), path)
        if digest_of(path) != self._tree[name].sha256:
            raise StepFailed(f"{storable(f'{self._root}/{name}'.rstrip('/'))} changed while it was fetched")
        path.chmod(0o600)

    def _come(self, name: str) -> None:
        """Ask for ``name`` and for the small files that follow it."""
        names: list[str] = []
        size = 0
        for each in self._waiting[self._waiting.index(name):]:
            length = self._tree[each].size or 0
            if length > _SMALL or size + length > _BATCH or not each:
                break
            names.append(each)
            size += length
        if len(names) < 2:
            return
        words = join(f"./{each}" for each in names)
        reply = self._context.host.run(Program(f"cd {quote(self._root)} && cat -- {words}\n"))
        if reply.exit != 0 or reply.truncated or len(reply.stdout) != size:
            return  # something moved: one by one tells what
        start = 0
        for each in names:
            end = start + (self._tree[each].size or 0)
            self._here[each] = reply.stdout[start:end]
            start = end
