"""What a journal holds. An event is durable before what it announces happens.

Events are msgspec structs, stored as JSON objects with a ``type``. A field is only ever added, with a default, so that
every later version reads every earlier journal.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Direction = Literal["forward", "reverse"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """The common base; ``tag`` is the stored name."""


class RunOpened(Event, frozen=True, kw_only=True, tag="run_opened"):
    """This run holds the locks, at this epoch. ``digests``: of sources, inventory, inputs and the plan.
    ``objectives``: rto and rpo in seconds, where the plan states them."""

    plan: str
    digests: dict[str, str]
    epoch: int
    hosts: list[str]
    version: str
    user: str = ""
    objectives: dict[str, float] = {}


class TakenOver(Event, frozen=True, kw_only=True, tag="taken_over"):
    """Another process goes on with the run (resume or rollback), at a higher epoch."""

    epoch: int
    verb: Literal["resume", "rollback"]
    user: str = ""


class OpEvent(Event, frozen=True, kw_only=True):
    """About one operation: a node on a host, in a direction. ``op`` is `ultraplan.engine.operations.op_id`."""

    op: str
    node: str
    host: str
    direction: Direction = "forward"


class Started(OpEvent, frozen=True, kw_only=True, tag="started"):
    """Work on the operation began (probing; no effect yet)."""


class Skipped(OpEvent, frozen=True, kw_only=True, tag="skipped"):
    """Not needed on this host; ``why`` in a few words."""

    why: str = ""


class Unchanged(OpEvent, frozen=True, kw_only=True, tag="unchanged"):
    """Its wanted state was observed before doing anything; counts as verified."""

    outputs: dict[str, Any] = {}


class Prepared(OpEvent, frozen=True, kw_only=True, tag="prepared"):
    """The way back: the resolved reverse program (markers for secrets), the facts before, and the facts expected after.

    ``reverse``: {"program": text, "foreign": bool, "account": …} for host steps, {"undo": …} for declared undos and
    {"controller": …} for controller steps; None where there is no way back (``way_back`` says why).
    """

    way_back: str
    summary: str = ""
    reverse: dict[str, Any] | None = None
    before: dict[str, Any] = {}
    after: dict[str, Any] | None = None


class Intent(OpEvent, frozen=True, kw_only=True, tag="intent"):
    """The effect may have happened from here on. ``boot``: the host's boot identity, ``deadline``: the seconds it
    may take. ``confirm``: the seconds after which the host undoes it by itself, unless it is confirmed: by an
    `Outcome` that is ok."""

    attempt: int
    epoch: int
    deadline: float | None = None
    boot: str = ""
    confirm: float | None = None


class Outcome(OpEvent, frozen=True, kw_only=True, tag="outcome"):
    """The effect ended. ``ok`` False: it failed, ``error`` says how. ``began`` False: it certainly never began.
    ``undone``: nobody confirmed it, and the host has undone it by itself."""

    ok: bool
    attempt: int
    exit: int | None = None
    error: str = ""
    outputs: dict[str, Any] = {}
    left: dict[str, Any] | None = None
    began: bool = True
    undone: bool = False


class Verified(OpEvent, frozen=True, kw_only=True, tag="verified"):
    """The wanted state was observed; dependents may start. ``left``: the facts as the run left them."""

    outputs: dict[str, Any] = {}
    left: dict[str, Any] | None = None


class Failed(OpEvent, frozen=True, kw_only=True, tag="failed"):
    """The operation is given up: retries are used up, or it failed before any effect (``effect`` False).

    ``trouble``, of an undo: ``conflict`` (the present state is not what the run left; ``facts`` has ``before``,
    ``left`` and ``now``) or ``gone`` (its pre-image was removed from the host).
    """

    error: str
    effect: bool = True
    unreachable: bool = False
    trouble: str = ""
    facts: dict[str, dict[str, Any]] | None = None


class InDoubt(OpEvent, frozen=True, kw_only=True, tag="in_doubt"):
    """Whether the effect happened cannot be known; a person has to say (``ultraplan resolve``)."""

    why: str


class Resolved(OpEvent, frozen=True, kw_only=True, tag="resolved"):
    """A person said whether it was done."""

    done: bool
    user: str = ""


class RollbackDecided(Event, frozen=True, kw_only=True, tag="rollback_decided"):
    """One way: from here ``hosts`` go backwards (None: the whole run)."""

    scope: Literal["run", "batch", "host"]
    cause: str
    hosts: list[str] | None = None


class Asked(OpEvent, frozen=True, kw_only=True, tag="asked"):
    """A step asks a person and waits, ``deadline`` seconds at most."""

    question: str
    deadline: float | None = None


class Answered(OpEvent, frozen=True, kw_only=True, tag="answered"):
    """A person answered: at the run's terminal, or from elsewhere (``ultraplan runs answer``)."""

    yes: bool
    user: str = ""


class Noted(Event, frozen=True, kw_only=True, tag="noted"):
    """Something worth keeping that changes no state (a lock renewed late, a damaged receipt)."""

    text: str


class Left(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rollback left as it is. ``kind``: ``irreversible`` (by the plan's word, or behind such a step),
    ``conflict``, ``gone``, ``unreachable``, ``failed``, ``doubt``, or ``behind`` (what came after it could not be
    undone)."""

    node: str
    host: str
    kind: str
    why: str


class RunClosed(Event, frozen=True, kw_only=True, tag="run_closed"):
    """``status``: succeeded, failed, rolled_back, rolled_back_in_part (what is left has no way back by the plan's
    word), rollback_incomplete, paused or interrupted. ``residue``: what a rollback left, a line each; ``left``: the
    same as data (empty in journals of earlier versions)."""

    status: str
    cause: str = ""
    residue: list[str] = []
    left: list[Left] = []


AnyEvent = (
    RunOpened | TakenOver | Started | Skipped | Unchanged | Prepared | Intent | Outcome | Verified | Failed | InDoubt
    | Resolved | RollbackDecided | Asked | Answered | Noted | RunClosed
)


class Record(msgspec.Struct, frozen=True):
    """An event with its place (from 1, without gaps) and the time it was made durable (Unix seconds, UTC)."""

    seq: int
    time: float
    event: AnyEvent


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """``event`` as JSON."""
    return _ENCODER.encode(event)


def decode(raw: bytes) -> AnyEvent:
    """The event of `encode`'s JSON; raises msgspec.DecodeError or msgspec.ValidationError for anything else."""
    return _DECODER.decode(raw)
