"""What is said between the engine and a host about effects: claims, receipts, traces, and why one did not begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ultraplan.shell import Program, Reply, quote
from ultraplan.transport.base import TransportError

FENCED, CLAIMED, UNCLAIMABLE, ARMED, OTHERWISE = 98, 97, 96, 95, 94
"""Exit codes of the receipt functions (shell/lib/10-receipts.sh)."""


class Unusable(TransportError):
    """The host's state directory cannot be written: nothing was begun."""


class Fenced(TransportError):
    """A run with a higher epoch took the host over: this one may change nothing more."""


def is_away(error: Exception) -> bool:
    """Whether ``error`` says that the host cannot be reached, rather than that it answered and cannot do it."""
    return isinstance(error, TransportError) and not isinstance(error, Unusable)


class NotBegun(TransportError):
    """The effect did not begin, and will not: what it rests on has changed, or it was called off."""


@dataclass(frozen=True, slots=True)
class RunHere:
    """The run that a session works for: its id and its epoch."""

    run: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a host knows of an effect. ``state``: absent, alive, dead, finished, or never (it was forbidden before it
    began, for good). ``boot``: at the claim. ``age``: for how many seconds it has run, by the host's own clock, which
    nobody sets; None where that is not known."""

    state: str
    exit: int | None = None
    boot: str | None = None
    reply: Reply | None = None
    age: int | None = None


@dataclass(frozen=True, slots=True)
class Traces:
    """What a host keeps of an effect: whether anything (receipts, pre-images). ``written``: when what it changed was
    last written, in Unix seconds by the host's clock; None where there is nothing, or it is not known."""

    kept: bool
    written: float | None

    @classmethod
    def read(cls, reply: Reply) -> Traces:
        """The answer of `HostSession.traces`."""
        words = reply.text.split()
        return cls("kept" in words, next((float(word) for word in words if word.isdecimal()), None))


@dataclass(frozen=True, slots=True)
class Effort:
    """One of several effects that are sent together. ``program`` None: nothing is to be done, only ``seen`` to hold.
    ``then``: the look after it. ``seen``: a look and what it printed, which it still has to print right before."""

    op: str
    attempt: str
    program: Program | None
    environment: Mapping[str, str]
    deadline: float
    then: Program
    seen: tuple[Program, str] | None = None


def receipt_at(op: str, attempt: str) -> str:
    """The shell word for the place of an attempt's receipt."""
    return f'"$UP_RUN"/{quote(f"{op}.{attempt}")}'


def read_receipt(reply: Reply) -> Receipt:
    """The answer of ``up_receipt``: the receipt's lines, the state; for a finished effect also what it printed."""
    state, code, boot, age = "absent", None, None, None
    rest = reply.stdout
    while rest:
        line, _, rest = rest.partition(b"\n")
        words = line.decode("utf-8", "replace").split()
        match words:
            case ["absent" | "alive" | "dead" as state]:
                break
            case ["alive" as state, seconds] if seconds.isdigit():
                age = int(seconds)
                break
            case ["claim", _, _, _, claimed]:
                state, boot = "dead", claimed
            case ["never" as state, *_]:
                break
            case ["exit", number] if number.isdigit():
                state, code = "finished", int(number)
                break
            case _:
                continue
    printed = Reply(code, rest, reply.stderr) if code is not None else None
    return Receipt(state, code, boot, printed, age)
