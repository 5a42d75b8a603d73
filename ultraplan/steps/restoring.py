"""The step `restore`: a backup set, or parts of it, back in place on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta

from ultraplan.shell import Program, join, quote
from ultraplan.steps.backups import KeyFiles, Place, Stoppable, bad_place, key_files, open_place, shown_place, told
from ultraplan.steps.base import Change, Context, ControllerStep, FieldDiff, State, StepFailed
from ultraplan.steps.params import AbsolutePath

if TYPE_CHECKING:
    from ultraplan.backup.catalogue import Opened
    from ultraplan.backup.placing import Place as Placed


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreParams:
    """Parameters of `restore`."""

    set: Annotated[str, Meta(min_length=1, description="`NAME` (its newest set) or `NAME/SET`")]
    store: Place
    keys: KeyFiles
    paths: Annotated[list[AbsolutePath], Meta(description="Only these, as they were called; all where there are none")
                     ] = field(default_factory=list)
    target: Annotated[AbsolutePath, Meta(description="The folder of the host that stands for `/`")] = "/"
    numeric_owner: Annotated[bool, Meta(description="Owners by number instead of by name")] = False
    allow_devices: Annotated[bool, Meta(description="Also device files")] = False


class Restore(ControllerStep[RestoreParams]):
    """Checks the whole set, unpacks it beside its destination, and swaps by renaming; what was there is kept."""

    name = "restore"
    summary = "Put a backup set, or parts of it, back in place; what was there is kept, and put back by a rollback"
    Params = RestoreParams
    guards_undo = False  # it looks for itself, on the host alone: the store may be gone
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "set": "the set, as `NAME/SET`", "files": "how many files it holds",
        "preimages": "folders of the host that hold what was there before, until somebody removes them",
    }
    example = """\
- id: stopped
  service: {name: mcp-gateway, state: stopped}

- id: data
  restore:
    set: "{{ host.name }}-etc"
    paths: [/etc/mcp-bridge]
    store: s3://mcp-backups/daily?endpoint_url=https://s3.example.org
    keys: [keys/recovery.key]
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return bad_place(raw)

    def resources(self, params: RestoreParams) -> tuple[str, ...]:
        paths = params.paths or ["/"]
        return tuple(f"tree:{params.target.rstrip('/')}{path.rstrip('/')}" for path in paths)

    def observe(self, params: RestoreParams, context: Context) -> State:
        from ultraplan.backup import placing

        with told(), closing(open_place(params.store, context)) as store:
            opened = _opened(params, context, store)
        found: dict[str, str] = {}
        for place in _places(params, opened, context):
            reply = context.host.run(Program(placing.look(place)))
            if reply.exit != 0:
                raise StepFailed(f"{context.host.name}: {reply.error_text.strip() or 'cannot be looked at'}; restoring "
                                 f"there could write outside of {params.target}")
            found.update(zip(map(place.to, place.paths), reply.text.splitlines(), strict=True))
        return State({"set": opened.found.ref, "manifest": opened.manifest_sha256, "there": found})

    def decide(self, params: RestoreParams, state: State) -> Change | None:
        there: Mapping[str, str] = state.facts["there"]
        return Change(
            summary=f"restore {state.facts['set']} from {shown_place(params.store)}",
            diff=tuple(FieldDiff(path, None if was == "absent" else "what is there now", "as it was backed up",
                                 None if was == "absent" else "is kept beside it") for path, was in there.items()),
            touches=tuple(f"tree:{path}" for path in there))

    def act(self, params: RestoreParams, state: State, context: Context) -> Mapping[str, Any]:
        from ultraplan.backup import placing
        from ultraplan.backup.read import Reading, read_set

        with told(), closing(open_place(params.store, context)) as store:
            opened = _opened(params, context, store)
            if state.facts and opened.manifest_sha256 != state.facts["manifest"]:
                raise StepFailed(f"{params.set} is another set by now: {opened.found.ref}")
            reading = Reading(identities=key_files(params.keys, context).identities, tick=Stoppable(context).tick)
            checked = read_set(store, opened, reading)
            if checked.devices and not params.allow_devices:
                raise StepFailed(f"the set holds {checked.devices} device files; `allow_devices` restores them")
            mine = _places(params, opened, context)
            try:
                for place in mine:
                    _run(context, placing.prepare(place))
                    _unpack(store, opened, reading, checked, params, place, context)
                for place in mine:
                    _run(context, placing.swap(place))
            except BaseException:
                for place in reversed(mine):
                    _run(context, placing.back(place))
                raise
        kept = [line for place in mine for line in _run(context, placing.finish(place)).splitlines()]
        return {"set": opened.found.ref, "files": checked.files, "preimages": kept}

    def undo(self, params: RestoreParams, state: State, context: Context) -> None:
        from ultraplan.backup import placing

        for place in reversed(placing.places(params.target, _members(state, params), _label(context))):
            _run(context, placing.back(place))


def _opened(params: RestoreParams, context: Context, store: Any) -> Opened:
    from ultraplan.backup.catalogue import choose, open_set

    name, _, which = params.set.partition("/")
    return open_set(store, choose(store, name, which or "latest"), key_files(params.keys, context).signers)


def _places(params: RestoreParams, opened: Opened, context: Context) -> list[Placed]:
    from ultraplan.backup.placing import places

    wanted = [path.strip("/") for path in params.paths] or opened.manifest.roots
    if "." in wanted or "" in wanted:
        raise StepFailed("/ itself cannot be replaced on a host that runs; name the `paths` that are to be restored")
    outside = [path for path in wanted
               if not any(root in (".", path) or path.startswith(f"{root}/") for root in opened.manifest.roots)]
    if outside:
        raise StepFailed(f"{opened.found.ref} does not have /{outside[0]}")
    return places(params.target, _outermost(wanted), _label(context))


def _outermost(paths: Sequence[str]) -> list[str]:
    return [path for path in sorted(set(paths)) if not any(path.startswith(f"{other}/") for other in paths)]


def _members(state: State, params: RestoreParams) -> list[str]:
    """What was restored, from where it went."""
    start = params.target.rstrip("/") + "/"
    return [path.removeprefix(start) for path in state.facts["there"]]


def _label(context: Context) -> str:
    """The operation's own name: the same after a crash."""
    return context.preimage.name


def _unpack(store: Any, opened: Opened, reading: Any, checked: Any, params: RestoreParams, place: Placed,
            context: Context) -> None:
    """Stream what is wanted into the host's tar; only bytes that are those that were checked."""
    from ultraplan.backup.gnutar import ENVIRONMENT, EXTRACT
    from ultraplan.backup.pipes import produced
    from ultraplan.backup.read import write_archive

    settings = " ".join(f"{name}={quote(value)}" for name, value in ENVIRONMENT.items())
    words = [*EXTRACT, *(["--numeric-owner"] if params.numeric_owner else []), f"--directory={place.new}",
             "--no-wildcards", "--", *(f"./{path}" for path in place.paths)]
    text = ("case $(tar --version 2>/dev/null) in *'GNU tar'*) ;; *) echo 'there is no GNU tar' >&2; exit 1;; esac\n"
            f"export {settings}\nexec {join(words)}\n")
    with produced(lambda pipe: write_archive(store, opened, reading, checked.pieces, pipe)) as pipe:
        reply = context.host.feed(Program(text), pipe)
        if reply.exit != 0:
            said = [line.removeprefix("tar: ") for line in reply.error_text.splitlines() if line.strip()]
            raise StepFailed(f"the set could not be unpacked on {context.host.name}: {'; '.join(said[:3])}")


def _run(context: Context, text: str) -> str:
    reply = context.host.run(Program(text))
    if reply.exit != 0:
        raise StepFailed(f"{context.host.name}: {reply.error_text.strip() or f'exit {reply.exit}'}")
    return reply.text


STEPS = (Restore,)
"""The step types of this family."""
