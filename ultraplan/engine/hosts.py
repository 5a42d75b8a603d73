"""One host as the engine sees it: looks, effects with receipts, what a crash left, facts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ultraplan.engine.operations import host_key
from ultraplan.inventory.model import Host
from ultraplan.secrets import Secrets, neutral
from ultraplan.shell import Account, Program, Reply, Upload, join, quote
from ultraplan.transport.base import Connection, ConnectionLost, TransportError

FENCED, CLAIMED, UNCLAIMABLE = 98, 97, 96
"""Exit codes of the receipt functions (shell/lib/10-receipts.sh)."""

LOOK_TIMEOUT = 120.0
"""Seconds that a look (probes, facts, receipts) may take."""


class Unusable(TransportError):
    """The host's state directory cannot be written: nothing was begun."""


class Fenced(TransportError):
    """A run with a higher epoch took the host over: this one may change nothing more."""


@dataclass(frozen=True, slots=True)
class RunHere:
    """The run that a session works for: its id and its epoch."""

    run: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a host knows of an effect. ``state``: absent, alive, dead or finished. ``boot``: at the claim."""

    state: str
    exit: int | None = None
    boot: str | None = None
    reply: Reply | None = None


@dataclass(slots=True)
class _Place:
    """Where an account keeps the run's receipts on the host."""

    folder: str
    prefix: str


class HostSession:
    """Talks to one host. One thread at a time for each account's shell; `lock` serializes them all.

    ``state_dir``: the host's own setting (``ultraplan_state_dir``) or None for the default that the host tells.
    """

    def __init__(self, host: Host, connection: Connection, secrets: Secrets, state_dir: str | None = None) -> None:
        self.host = host
        self.name = host.name
        self.connection = connection
        self.secrets = secrets
        self.lock = threading.RLock()
        self._state_dir = state_dir
        self._facts: dict[Account | None, dict[str, str]] = {}
        self._places: dict[Account | None, _Place] = {}

    # -- looking ------------------------------------------------------------------------------------------------

    def facts(self, account: Account | None = None) -> Mapping[str, str]:
        """The host's facts, asked once: hostname, fqdn, os, os_version, kernel, arch, user, uid, home, shell, boot."""
        with self.lock:
            if account not in self._facts:
                self.look([], account)
            return self._facts[account]

    def look(self, programs: Sequence[Program], account: Account | None = None,
             environment: Mapping[str, str] | None = None, timeout: float = LOOK_TIMEOUT) -> list[Reply]:
        """Run read-only programs in one trip (the facts come along the first time)."""
        with self.lock:
            texts = [self._final(program, environment if program.foreign else None) for program in programs]
            if account not in self._facts:
                replies = self.connection.shell(account).run_many(["up_facts", *texts], timeout=timeout)
                lines = (line.partition("=") for line in neutral(replies[0].text).splitlines())
                self._facts[account] = {name: value for name, _, value in lines}
                return replies[1:]
            return self.connection.shell(account).run_many(texts, timeout=timeout) if texts else []

    # -- effects ------------------------------------------------------------------------------------------------

    def effect(self, here: RunHere, op: str, attempt: str, program: Program, *, account: Account | None = None,
               environment: Mapping[str, str] | None = None, deadline: float | None = None,
               then: Program | None = None) -> tuple[Reply, Reply | None]:
        """Claim ``op.attempt`` on the host, run ``program`` once, and look with ``then`` in the same trip.

        Raises `Fenced`; `TransportError` where the connection breaks or the deadline passes (the receipt knows more).
        """
        with self.lock:
            place = self._place(here, account)
            self._upload(program.uploads, place, account)
            receipt = f'"$UP_RUN"/{quote(f"{op}.{attempt}")}'
            call = f'{place.prefix}UP_PRE="$UP_RUN"/{quote(op)}.pre\n'
            if program.foreign:
                text = quote(self._final(program, environment))
                call += f"export UP_PRE UP_TMP\nup_foreign {receipt} {here.epoch} {text}"
            else:
                call += f"up_effect {receipt} {here.epoch} {quote(self._final(program))}"
            texts = [call]
            if then is not None:
                texts.append(self._final(then))
            replies = self.connection.shell(account).run_many(texts, timeout=deadline)
            if replies[0].exit in (FENCED, CLAIMED, UNCLAIMABLE):
                self._refused_unless_its_own(here, op, attempt, account, replies[0])
            return replies[0], replies[1] if then is not None else None

    def receipt(self, here: RunHere, op: str, attempt: str, account: Account | None = None) -> Receipt:
        """What the host knows of ``op.attempt``."""
        with self.lock:
            place = self._place(here, account)
            name = f'"$UP_RUN"/{quote(f"{op}.{attempt}")}'
            reply = self.connection.shell(account).run(f"{place.prefix}up_receipt {name}", timeout=LOOK_TIMEOUT)
            return _read_receipt(reply)

    def end(self, here: RunHere, op: str, attempt: str, account: Account | None = None) -> None:
        """End what ``op.attempt`` still runs (the whole session of a person's program), over a second channel."""
        place = self._places.get(account)
        if place is None:
            with self.lock:
                place = self._place(here, account)
        name = f'"$UP_RUN"/{quote(f"{op}.{attempt}")}'
        self.connection.side(f"{place.prefix}up_end {name}", account, timeout=LOOK_TIMEOUT)

    def forbid(self, here: RunHere, op: str, attempt: str, account: Account | None = None) -> bool:
        """Claim ``op.attempt`` without running anything, so that it can never start; False where it was claimed."""
        with self.lock:
            place = self._place(here, account)
            name = f'"$UP_RUN"/{quote(f"{op}.{attempt}")}'
            text = f"{place.prefix}up_claim {name} {here.epoch} && echo 'exit 125' >>{name}"
            reply = self.connection.shell(account).run(text, timeout=LOOK_TIMEOUT)
            if reply.exit in (FENCED, UNCLAIMABLE):
                self._refused(reply)
            return reply.exit == 0

    def scratch(self, here: RunHere, account: Account | None = None) -> str:
        """The run's scratch folder on the host."""
        with self.lock:
            return f"{self._place(here, account).folder}/tmp"

    def forget(self) -> None:
        """After a lost connection: folders and facts are asked for again (the host may have been rebooted)."""
        with self.lock:
            self._facts.clear()
            self._places.clear()

    def clean(self, here: RunHere, *, keep_way_back: bool) -> None:
        """Remove the run's scratch files (and, unless they are still a way back, its pre-images and receipts)."""
        with self.lock:
            for account, place in self._places.items():
                what = "/tmp" if keep_way_back else ""
                target = quote(place.folder + what)
                self.connection.shell(account).run(f"rm -rf -- {target}", timeout=LOOK_TIMEOUT)

    # -- inside -------------------------------------------------------------------------------------------------

    def _place(self, here: RunHere, account: Account | None) -> _Place:
        if account not in self._places:
            facts = self.facts(account)
            root = self._state_dir or facts["state"]
            if self._state_dir and account is not None:
                root = f"{root}/as-{account.user}"
            key = host_key(self.name)
            opened = self.connection.shell(account).run(
                f"up_open {join([root, here.run, str(here.epoch), key])}", timeout=LOOK_TIMEOUT)
            if opened.exit != 0:
                self._refused(opened)
            folder = f"{root}/runs/{here.run}"
            prefix = f"UP={quote(root)} UP_HOST={key} UP_RUN={quote(folder)} UP_TMP={quote(folder + '/tmp')}\n"
            self._places[account] = _Place(folder, prefix)
        return self._places[account]

    def _upload(self, uploads: Sequence[Upload], place: _Place, account: Account | None) -> None:
        for upload in uploads:
            source = upload.source
            if isinstance(source, bytes):
                text = source.decode("utf-8", "surrogateescape")
                source = self.secrets.reveal(text).encode("utf-8", "surrogateescape")
            self.connection.upload(source, f"{place.folder}/tmp/{upload.name}", account)

    def _final(self, program: Program, environment: Mapping[str, str] | None = None) -> str:
        exports = "".join(f"export {name}={quote(value)}\n" for name, value in (environment or {}).items())
        return self.secrets.reveal_in_shell(exports + program.text)

    def _refused_unless_its_own(self, here: RunHere, op: str, attempt: str, account: Account | None,
                                reply: Reply) -> None:
        """A program may exit with our codes too: then its receipt says so."""
        receipt = self.receipt(here, op, attempt, account)
        if receipt.exit == reply.exit:
            return
        if reply.exit == CLAIMED:
            raise ConnectionLost(self.name, "the operation was claimed before")
        self._refused(reply)

    def _refused(self, reply: Reply) -> None:
        why = neutral(reply.error_text).strip() or f"exit {reply.exit}"
        if reply.exit == FENCED:
            raise Fenced(self.name, why)
        raise Unusable(self.name, f"the state directory cannot be used: {why}",
                             "free space or set ultraplan_state_dir for this host")


def _read_receipt(reply: Reply) -> Receipt:
    """The answer of ``up_receipt``: the receipt's lines, the state; for a finished effect also what it printed."""
    state, code, boot = "absent", None, None
    rest = reply.stdout
    while rest:
        line, _, rest = rest.partition(b"\n")
        words = line.decode("utf-8", "replace").split()
        match words:
            case ["absent" | "alive" | "dead" as state]:
                break
            case ["claim", _, _, _, claimed]:
                state, boot = "dead", claimed
            case ["exit", number] if number.isdigit():
                state, code = "finished", int(number)
                break
            case _:
                continue
    printed = Reply(code, rest, reply.stderr) if code is not None else None
    return Receipt(state, code, boot, printed)
