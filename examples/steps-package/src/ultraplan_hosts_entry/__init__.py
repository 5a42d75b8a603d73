"""A step type of another package: ``hosts_entry``, one name's address in a hosts file.

It is all pure: what to ask a host, how to read its answer, what is left to do, and the way back. The engine runs the
programs, journals them, shows the diff, verifies, and undoes.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ultraplan.shell import Program, Reply, literal, plain, quote
from ultraplan.steps.base import Change, HostStep, State, StepFailed, TextDiff
from ultraplan.steps.params import AbsolutePath
from ultraplan.steps.pathstate import Look

LIMIT = 1024 * 1024
"""Bytes of a hosts file that are read; larger ones are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryParams:
    """The step's parameters: their schema, completion, checks and documentation come from these lines."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*(?!\n)$", description="The host name")]
    address: Annotated[str, Meta(description="Its address, IPv4 or IPv6; names of the other family stay as they are")]
    state: Annotated[Literal["present", "absent"], Meta(description="Whether the name has that address")] = "present"
    path: Annotated[AbsolutePath, Meta(description="The hosts file")] = "/etc/hosts"


class HostsEntry(HostStep[EntryParams]):
    """One name's address in a hosts file."""

    name: ClassVar[str] = "hosts_entry"
    summary: ClassVar[str] = "One name's address in a hosts file"
    Params: ClassVar[type[Any]] = EntryParams
    outputs_doc: ClassVar[Mapping[str, str]] = {"sha256": "the file's SHA-256 in hex"}
    example: ClassVar[str] = """\
- id: file
  file: {path: "{{ inputs.root }}/hosts", content: "127.0.0.1 localhost\\n"}

- id: database
  hosts_entry: {name: db1, address: 192.0.2.10, path: "{{ inputs.root }}/hosts"}
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """Mistakes that can be found before any host is known; the schema has found the others."""
        address = raw.get("address")
        if isinstance(address, str) and "{" not in address:
            try:
                ipaddress.ip_address(address)
            except ValueError as error:
                return [(("address",), str(error))]
        return []

    def resources(self, params: EntryParams) -> tuple[str, ...]:
        """What it reads and changes; a preview tells by this which steps depend on each other."""
        return (f"path:{params.path}",)

    def probe(self, params: EntryParams) -> Program:
        """A program that changes nothing. `up_look`: kind, mode, owner, then the content of at most `LIMIT` bytes."""
        return Program(f"up_look {quote(params.path)} {LIMIT}\n")

    def observe(self, params: EntryParams, reply: Reply) -> State:
        """``facts`` are compared and stored; ``detail`` is for `decide` and the diff only."""
        look = Look.read(reply, params.path)
        if look.kind != "file" or "content" not in look.fields:
            raise StepFailed(f"{params.path} is no file of at most {LIMIT // 1024} KiB but: {look.kind}")
        return State({**look.facts(), "sha256": hashlib.sha256(look.rest).hexdigest()}, {"text": plain(look.rest)})

    def decide(self, params: EntryParams, state: State) -> Change | None:
        """Nothing, or the new text with its way back. Is also how success is verified: nothing must be left to do."""
        for _, mistake in self.check({"address": params.address}):  # what a template gave is known only now
            raise StepFailed(mistake)
        before = state.detail["text"]
        after = edited(before, params)
        if after == before:
            return None
        digest = hashlib.sha256(after.encode("utf-8", "surrogateescape")).hexdigest()
        at, facts = quote(params.path), state.facts
        return Change(
            summary=f"{params.name} {'→' if params.state == 'present' else 'no longer'} {params.address}",
            diff=(TextDiff(params.path, before, after),),
            # `up_put` secures the file as it is below $UP_PRE, then replaces it in one rename; it refuses if the file
            # is not what was looked at. `up_back` puts the secured file back, and does nothing where there is none.
            forward=Program(f"up_content() {{ {literal(after)}; }}\n"
                            f"up_put {at} {facts['mode']} {facts['uid']}:{facts['gid']} {facts['sha256']}\n"),
            reverse=Program(f"up_back {at}\n"),
            after={**facts, "sha256": digest},
            outputs={"sha256": digest},
            touches=self.resources(params),
        )

    def outputs(self, params: EntryParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        """What later steps see as ``steps.ID.outputs``."""
        return {"sha256": state.facts["sha256"]}


def edited(text: str, params: EntryParams) -> str:
    """``text`` in which the name has the address (``absent``: has it no longer), and no other of its family."""
    lines, found = [], False
    name = re.compile(rf"(?<=\s){re.escape(params.name)}(?=[\s#]|$)[ \t]*")
    for line in text.splitlines(keepends=True):
        words = line.partition("#")[0].split()
        if params.name in words[1:] and (":" in words[0]) == (":" in params.address):
            same = words[0] == params.address
            if params.state == "present" and same and not found:
                found = True
            elif params.state == "present" or same:
                line = name.sub("", line) if len(words) > 2 else ""
        lines.append(line)
    if params.state == "present" and not found:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines.append(f"{params.address} {params.name}\n")
    return "".join(lines)
