"""A step type for crash tests, as another package would bring it: idempotent, and it counts.

Its state can be looked at, as that of `file` and its kin, so the engine may do again what died half-way. Every start
and every end of its effect, and of its undo, leaves a line in a log; a file named after it holds it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from ultraplan.shell import Program, Reply, quote
from ultraplan.steps.base import Change, HostStep, State


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkParams:
    """Parameters of `mark`."""

    path: Annotated[str, Meta(description="The file to make")]
    content: Annotated[str, Meta(description="Its one line")]
    base: Annotated[str, Meta(description="The folder of the log and of what holds it up")]
    name: Annotated[str, Meta(description="What it is called in the log")]


class Mark(HostStep[MarkParams]):
    """Makes a file of one line."""

    name = "mark"
    summary = "Make a file, and count how often"
    Params = MarkParams

    def probe(self, params: MarkParams) -> Program:
        return Program(f"if [ -e {quote(params.path)} ]; then cat -- {quote(params.path)}; else echo absent; fi")

    def observe(self, params: MarkParams, reply: Reply) -> State:
        return State({"content": reply.text.rstrip("\n")})

    def decide(self, params: MarkParams, state: State) -> Change | None:
        if state.facts["content"] == params.content:
            return None
        path = quote(params.path)
        forward = counted(params.name, params.base, f"printf '%s\\n' {quote(params.content)} >{path}.new && "
                                                    f"mv -f -- {path}.new {path}")
        reverse = counted(f"undo-{params.name}", params.base, f"rm -f -- {path} {path}.new")
        return Change(summary=f"write {params.content!r}", forward=Program(forward), reverse=Program(reverse),
                      after={"content": params.content}, touches=(f"path:{params.path}",))

    def resources(self, params: MarkParams) -> tuple[str, ...]:
        return (f"path:{params.path}",)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return (f"path:{known['path']}",) if "path" in known else None


def counted(name: str, base: str, effect: str) -> str:
    """``effect`` as a shell program that leaves ``did:NAME`` when it begins and ``done:NAME`` (or ``failed:NAME``) when
    it ends, writes the numbers of its processes into ``pids.NAME``, and waits where there is a file ``hold.NAME``."""
    log, pids, hold = (quote(f"{base}/{what}") for what in ("log", f"pids.{name}", f"hold.{name}"))
    return (f"read -r up_mark up_rest </proc/self/stat; echo $$ $up_mark >{pids}; echo did:{name} >>{log}\n"
            f"while [ -e {hold} ]; do sleep 0.05; done\n"
            f"{{ {effect}; }} || {{ up_failed=$?; echo failed:{name} >>{log}; exit $up_failed; }}\n"
            f"echo done:{name} >>{log}\n")
