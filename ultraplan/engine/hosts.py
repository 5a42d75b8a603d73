"""One host as the engine sees it: looks, effects with receipts, what a crash left, facts."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ultraplan.engine.lanes import Lanes
from ultraplan.engine.looks import AndLook, Shared, shares
from ultraplan.engine.operations import host_key
from ultraplan.engine.receipts import (
    ARMED,
    CLAIMED,
    FENCED,
    OTHERWISE,
    UNCLAIMABLE,
    Effort,
    Fenced,
    NotBegun,
    Receipt,
    RunHere,
    Unusable,
    read_receipt,
    receipt_at,
)
from ultraplan.inventory.model import Host
from ultraplan.secrets import Secrets, neutral
from ultraplan.shell import Account, Program, Reply, Upload, join, library, quote
from ultraplan.transport.base import (
    Ahead,
    AuthenticationFailed,
    Connection,
    ConnectionLost,
    DeadlineExceeded,
    HostKeyMismatch,
    Shell,
    TransportError,
    Unreachable,
)

LOOK_TIMEOUT = 120.0
"""Seconds that a look (probes, facts, receipts) may take."""

T = TypeVar("T")

AGAIN = 1.0
"""Seconds before a host is asked again to which the connection broke."""

PATIENCE = 30.0
"""Seconds for which a host that was lost is tried to be reached again (``reconnect`` in ultraplan.yaml)."""


@dataclass(slots=True)
class _Place:
    """Where an account keeps the run's receipts on the host."""

    folder: str
    prefix: str


class HostSession:
    """Talks to one host, from several threads: what runs side by side gets shells of its own, `LANES` at most.

    ``state_dir``: the host's own setting (``ultraplan_state_dir``) or None for the default that the host tells.
    ``patience``: for how many seconds a host that was lost is tried to be reached again.
    """

    # Order of waiting: first the lock (for facts and places), then a lane; whoever has a lane never waits for the lock.

    def __init__(self, host: Host, connection: Connection, secrets: Secrets, state_dir: str | None = None,
                 patience: float = PATIENCE) -> None:
        self.host = host
        self.name = host.name
        self.connection = connection
        self.secrets = secrets
        self._lock = threading.RLock()
        self._lanes: dict[Account | None, Lanes] = {}
        self._state_dir = state_dir
        self.patience = patience
        self._away: tuple[float, TransportError] | None = None
        self._facts: dict[Account | None, dict[str, str]] = {}
        self._places: dict[Account | None, _Place] = {}

    # -- looking ------------------------------------------------------------------------------------------------

    def facts(self, account: Account | None = None) -> Mapping[str, str]:
        """The host's facts, asked once: hostname, os, os_version, kernel, arch, user, uid, home, shell, boot."""
        with self._lock:
            if account not in self._facts:
                self.look([], account)
            return self._facts[account]

    def known(self, account: Account | None = None) -> bool:
        """Whether the facts are known without asking."""
        return account in self._facts

    def look(self, programs: Sequence[Program], account: Account | None = None,
             here: RunHere | None = None) -> list[Reply]:
        """Run read-only programs in one trip (the facts come along the first time). ``here``: the run's folders are
        made on the way, for effects that follow. Raises `TransportError`; `Fenced`."""
        return self._asked(lambda: self._look(programs, account, here))

    def _look(self, programs: Sequence[Program], account: Account | None, here: RunHere | None) -> list[Reply]:
        texts = [self._final(program) for program in programs]
        shared = Shared(texts) if shares(programs) else None
        replies = self._look_at([shared.text] if shared is not None else texts, account, here)
        if shared is None:
            return replies
        return shared.replies(replies[0]) or self._look_at(texts, account, None)

    def _look_at(self, texts: Sequence[str], account: Account | None, here: RunHere | None) -> list[Reply]:
        with self._lock:
            first = []
            if account not in self._facts:
                first.append("up_facts")
            elif here is not None and account not in self._places:
                first.append(self._opening(here, account))
            if first:
                with self._shell(account) as shell:
                    known, *replies = shell.run_many([*first, *texts], timeout=LOOK_TIMEOUT)
                if account not in self._facts:
                    lines = (line.partition("=") for line in neutral(known.text).splitlines())
                    self._facts[account] = {name: value for name, _, value in lines}
                elif here is not None:
                    self._places[account] = self._opened(here, account, known)
                return replies
        if not texts:
            return []
        with self._shell(account) as shell:
            return shell.run_many(texts, timeout=LOOK_TIMEOUT)

    def ask(self, here: RunHere, program: Program, account: Account | None = None,
            environment: Mapping[str, str] | None = None, timeout: float = LOOK_TIMEOUT) -> Reply:
        """Run one read-only program that may bring files along (a script): only then the run's folders are made."""
        return self._asked(lambda: self._ask(here, program, account, environment, timeout))

    def _ask(self, here: RunHere, program: Program, account: Account | None,
             environment: Mapping[str, str] | None, timeout: float) -> Reply:
        text = self._final(program, environment if program.foreign else None)
        if program.uploads:
            place = self._place(here, account)
            self._upload(program.uploads, place, account)
            text = f"{place.prefix}export UP_TMP\n{text}"
        mark = f"look-{secrets.token_hex(8)}:"
        try:
            with self._shell(account) as shell:
                return shell.run(f"UP_OP={mark}; export UP_OP\n{text}", timeout=timeout)
        except DeadlineExceeded:  # what has left the shell's process group is ended, too
            self.connection.side(f"up_end_marked {mark}", account, timeout=LOOK_TIMEOUT)
            raise

    # -- effects ------------------------------------------------------------------------------------------------

    def effect(self, here: RunHere, op: str, attempt: str, program: Program, *, account: Account | None = None,
               environment: Mapping[str, str] | None = None, deadline: float | None = None,
               then: Program | None = None) -> tuple[Reply, Reply | None]:
        """Claim ``op.attempt`` on the host, run ``program`` once, and look with ``then`` in the same trip.

        Raises `Fenced`; `TransportError` where the connection breaks or the deadline passes (the receipt knows more).
        """
        place = self._place(here, account)
        self._upload(program.uploads, place, account)
        call = self._call(here, place, op, attempt, program, environment or {})
        texts = [call] if then is None else [call, self._final(then)]
        with self._shell(account) as shell:
            replies = shell.run_many(texts, timeout=deadline)
        if replies[0].exit in (FENCED, CLAIMED, UNCLAIMABLE):
            self._refused_unless_its_own(here, op, attempt, account, replies[0])
        return replies[0], replies[1] if then is not None else None

    def efforts(self, here: RunHere, efforts: Sequence[Effort], account: Account | None,
                idle: Callable[[], None]) -> Iterator[tuple[Reply, Reply | None]]:
        """Send all in one trip; each is claimed, done and looked at as by `effect`, and the shell stops at the first
        that fails, which is the last one given (without a look). ``idle`` is called now and then.

        Raises as `effect`, about the first that was not given; and `NotBegun`.
        """
        place = self._place(here, account)
        programs: list[Ahead] = []
        sent: list[tuple[Effort, AndLook | None]] = []
        for effort in efforts:
            if effort.program is not None:
                self._upload(effort.program.uploads, place, account)
            text, both = self._text(here, place, effort), None
            if effort.program is not None and effort.then.gentle:
                both = AndLook(text, self._final(effort.then))
            programs.append(Ahead(text if both is None else both.text, timeout=effort.deadline))
            if effort.program is not None and both is None:
                programs.append(Ahead(self._final(effort.then), stops=False, timeout=LOOK_TIMEOUT))
            sent.append((effort, both))
        last: Reply | None = None
        todo = iter(sent)
        with self._shell(account) as shell:
            replies = shell.stream(programs, idle)
            for reply in replies:
                effort, both = next(todo)
                looked = None
                if both is not None:
                    reply, looked = both.replies(reply)
                elif reply.exit == 0 and effort.program is not None:
                    looked = next(replies)
                if reply.exit in (FENCED, CLAIMED, UNCLAIMABLE, OTHERWISE):
                    last = reply
                else:
                    yield reply, looked
        if last is None:
            return
        if effort.program is None or self._not_its_own(here, effort.op, effort.attempt, account, last):
            raise NotBegun(self.name, neutral(last.error_text).strip() or "it was called off")
        yield last, None

    def receipt(self, here: RunHere, op: str, attempt: str, account: Account | None = None) -> Receipt:
        """What the host knows of ``op.attempt``."""
        return read_receipt(self._here(here, account, f"up_receipt {receipt_at(op, attempt)}"))

    def end(self, here: RunHere, op: str, attempt: str, account: Account | None = None) -> None:
        """End what ``op.attempt`` still runs (the whole session of a person's program), over a second channel."""
        self._here(here, account, ":")  # raises at once where the host is known to be away
        place = self._place(here, account)
        self.connection.side(f"{place.prefix}up_end {receipt_at(op, attempt)}", account, timeout=LOOK_TIMEOUT)

    def forbid(self, here: RunHere, op: str, attempt: str, account: Account | None = None) -> bool:
        """Claim ``op.attempt`` without running anything, so that it can never start; False where it was claimed."""
        name = receipt_at(op, attempt)
        reply = self._here(here, account, f"up_claim {name} {here.epoch} never")
        if reply.exit in (FENCED, UNCLAIMABLE):
            self._refused(reply)
        return reply.exit == 0

    def arm(self, here: RunHere, op: str, attempt: int, undo: Program, seconds: int, *,
            account: Account | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Let the host run ``undo`` by itself, ``seconds`` from now, unless `disarm` comes first. Raises `Unusable`
        where it cannot: then it never will."""
        place = self._place(here, account)
        self._upload(undo.uploads, place, account)
        timer = receipt_at(op, f"d{attempt}")
        kind, text = ("foreign", self._final(undo, environment)) if undo.foreign else ("own", self._final(undo))
        script = (f'{library()}\n{place.prefix}UP_PRE="$UP_RUN"/{quote(op)}.pre\nexport UP_PRE UP_TMP\n'
                  f"up_watch {timer} {receipt_at(op, str(attempt))} {seconds} {kind} {quote(text)}")
        reply = self._here(here, account, f"up_arm {timer} {here.epoch} {quote(script)}")
        if reply.exit == FENCED:
            self._refused(reply)
        if reply.exit != 0:
            raise Unusable(self.name, f"its undo cannot be armed there: {neutral(reply.error_text).strip()}")

    def disarm(self, here: RunHere, op: str, attempt: int, account: Account | None = None) -> str:
        """Settle the dead-man of ``op.attempt``, where nobody has. How it is settled now: ``confirmed``, ``late``,
        ``rebooted``, ``unarmed`` or ``began`` (it will do nothing; see shell/lib/50-deadman.sh), or ``fired``."""
        reply = self._here(here, account, f"up_disarm {receipt_at(op, f'd{attempt}')} {here.epoch}")
        if reply.exit != 0:
            self._refused(reply)
        words = reply.text.split()
        return words[1] if words[:1] == ["never"] and len(words) > 1 else "fired"

    def call_off(self, here: RunHere, names: Sequence[tuple[str, str]], account: Account | None = None) -> None:
        """Claim what was sent ahead and has not begun, over a second channel, so that it never will: operations, each
        with its attempt."""
        place = self._place(here, account)
        lines = [f"up_claim {receipt_at(op, attempt)} {here.epoch} never" for op, attempt in names]
        self.connection.side("\n".join([place.prefix, *lines, ":"]), account, timeout=LOOK_TIMEOUT)

    def give_up(self, trouble: TransportError) -> None:
        """The host is away: whatever is asked of it in the next `patience` seconds fails at once, and after that it is
        tried to be reached once more. So a host that is down is waited for once, not for each operation."""
        self._away = time.monotonic() + self.patience, trouble

    @property
    def away(self) -> bool:
        """Whether the host is known to be away, so that nothing is tried now."""
        return self._away is not None and time.monotonic() < self._away[0]

    def forget(self) -> None:
        """After a lost connection: folders and facts are asked for again (the host may have been rebooted)."""
        with self._lock:
            self._facts.clear()
            self._places.clear()

    def learn(self, other: HostSession) -> None:
        """Know of the folders that ``other``, a session of the same host, has made there, to `clean` them up."""
        with self._lock, other._lock:
            self._places = {**other._places, **self._places}

    def clean(self, here: RunHere, *, keep_way_back: bool) -> None:
        """Remove the run's scratch files and what its programs printed; its receipts and pre-images too, unless they
        are still a way back."""
        with self._lock:
            places = dict(self._places)
        for account, place in places.items():
            folder = quote(place.folder)
            what = f"{folder}/tmp {folder}/*.out {folder}/*.err" if keep_way_back else folder
            with self._shell(account) as shell:
                shell.run(f"rm -rf -- {what}", timeout=LOOK_TIMEOUT)

    def remove(self, run: str, account: Account | None = None) -> None:
        """Remove all that a run left for ``account``: receipts and pre-images. There is no way back afterwards."""
        with self._shell(account) as shell:
            reply = shell.run(f"up_forget {join([self._root(account), run])}", timeout=LOOK_TIMEOUT)
        if reply.exit != 0:
            raise Unusable(self.name, neutral(reply.error_text).strip())

    def traces(self, run: str, op: str, resources: Sequence[str], account: Account | None = None) -> Program:
        """A read-only program that tells (`Traces`) whether the host still keeps anything of ``op``'s forward effect,
        and when the first path among ``resources`` was last written."""
        folder = quote(f"{self._root(account)}/runs/{run}")
        paths = [name for sort, _, name in (one.partition(":") for one in resources) if sort in ("path", "tree")]
        path = quote(paths[0] if paths else "")
        return Program(f"for up_f in {folder}/{quote(op)}.[0-9p]*; do\n"
                       '  if [ -e "$up_f" ] || [ -L "$up_f" ]; then echo kept; break; fi\n'
                       f"done\n[ -z {path} ] || stat -c %Y -- {path} 2>/dev/null || :")

    def _asked(self, ask: Callable[[], T]) -> T:
        """What only reads is asked again where the connection breaks (it may have been idle for too long for something
        on the way), as long as our patience lasts. A host that cannot be reached to begin with is not waited for."""
        until: float | None = None
        while True:
            began = time.monotonic()
            try:
                return ask()
            except (ConnectionLost, Unreachable) as trouble:
                final = isinstance(trouble, (AuthenticationFailed, HostKeyMismatch)) or self.away
                now = time.monotonic()
                if until is None and isinstance(trouble, ConnectionLost):
                    until = now + self.patience
                if final or until is None:
                    raise
                took = now - began if isinstance(trouble, Unreachable) else 0.0  # the next try may take as long
                if now + AGAIN + took > until:
                    self.give_up(trouble)
                    raise
                self.forget()
            time.sleep(AGAIN)

    # -- inside -------------------------------------------------------------------------------------------------

    @contextmanager
    def _shell(self, account: Account | None) -> Iterator[Shell]:
        """A shell that nobody else uses meanwhile."""
        if self._away is not None and self.away:
            raise Unreachable(self.name, f"{self._away[1]} (and it was away a moment ago)", self._away[1].hint)
        try:
            with self._lanes.setdefault(account, Lanes()).one() as lane:
                yield self.connection.shell(account, lane)
        except Unreachable as trouble:
            if self._away is not None:  # still
                self.give_up(trouble)
            raise
        self._away = None

    def _here(self, here: RunHere, account: Account | None, text: str) -> Reply:
        place = self._place(here, account)
        with self._shell(account) as shell:
            return shell.run(place.prefix + text, timeout=LOOK_TIMEOUT)

    def _place(self, here: RunHere, account: Account | None) -> _Place:
        """The run's place on the host, made and fenced when first asked for."""
        with self._lock:
            if account not in self._places:
                opening = self._opening(here, account)
                with self._shell(account) as shell:
                    opened = shell.run(opening, timeout=LOOK_TIMEOUT)
                self._places[account] = self._opened(here, account, opened)
            return self._places[account]

    def _opening(self, here: RunHere, account: Account | None) -> str:
        return f"up_open {join([self._root(account), here.run, str(here.epoch), host_key(self.name)])}"

    def _opened(self, here: RunHere, account: Account | None, reply: Reply) -> _Place:
        if reply.exit != 0:
            self._refused(reply)
        root = self._root(account)
        folder = f"{root}/runs/{here.run}"
        return _Place(folder, f"UP={quote(root)} UP_HOST={host_key(self.name)} UP_RUN={quote(folder)} "
                              f"UP_TMP={quote(folder + '/tmp')}\n")

    def _root(self, account: Account | None) -> str:
        """The account's state directory on the host."""
        if self._state_dir is None:
            return self.facts(account)["state"]
        return self._state_dir if account is None else f"{self._state_dir}/as-{account.user}"

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

    def _text(self, here: RunHere, place: _Place, effort: Effort) -> str:
        still = ""
        if effort.seen is not None:
            probe, printed = effort.seen
            still = f"up_still {quote(printed)} {quote(self._final(probe))} || exit {OTHERWISE}\n"
        if effort.program is None:
            return still
        return still + self._call(here, place, effort.op, effort.attempt, effort.program, effort.environment)

    def _call(self, here: RunHere, place: _Place, op: str, attempt: str, program: Program,
              environment: Mapping[str, str]) -> str:
        """The text that claims an effect's receipt and runs it."""
        receipt = receipt_at(op, attempt)
        call = f'{place.prefix}UP_PRE="$UP_RUN"/{quote(op)}.pre\n'
        if program.foreign:
            text = quote(self._final(program, environment))
            return f"{call}export UP_PRE UP_TMP\nup_foreign {receipt} {here.epoch} {text}"
        return f"{call}up_effect {receipt} {here.epoch} {quote(self._final(program))}"

    def _refused_unless_its_own(self, here: RunHere, op: str, attempt: str, account: Account | None,
                                reply: Reply) -> None:
        if self._not_its_own(here, op, attempt, account, reply):
            raise ConnectionLost(self.name, "the operation was claimed before")

    def _not_its_own(self, here: RunHere, op: str, attempt: str, account: Account | None, reply: Reply) -> bool:
        """Whether an exit code that we use ourselves is not the program's own, which its receipt would say. Raises
        `Fenced`, `Unusable`; and `ConnectionLost` for an effect that somebody claimed who does not run it."""
        receipt = self.receipt(here, op, attempt, account)
        if receipt.exit == reply.exit:
            return False
        if reply.exit in (FENCED, UNCLAIMABLE):
            self._refused(reply)
        if receipt.state not in ("never", "absent"):
            raise ConnectionLost(self.name, "the operation was claimed before")
        return True

    def _refused(self, reply: Reply) -> None:
        why = neutral(reply.error_text).strip() or f"exit {reply.exit}"
        if reply.exit == FENCED:
            raise Fenced(self.name, why)
        if reply.exit == ARMED:
            raise Unusable(self.name, why, "let that run go on (ultraplan resume), or wait until the host has done it")
        raise Unusable(self.name, f"the state directory cannot be used: {why}",
                             "free space or set ultraplan_state_dir for this host")
