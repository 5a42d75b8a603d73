"""What became of an effect whose answer did not arrive: ask the receipt, and only then decide."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain, repeat

from ultraplan.engine.faults import fault
from ultraplan.engine.hosts import HostSession
from ultraplan.engine.receipts import Fenced, Receipt
from ultraplan.engine.resolve import Resolved
from ultraplan.engine.run import Run
from ultraplan.shell import Account, Reply
from ultraplan.transport.base import DeadlineExceeded, HostKeyMismatch, TransportError, Unreachable

RECONNECT_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before the next tries to reach a host that was lost; the last also before all further ones."""

POLL = 0.5
"""Seconds between two looks at a receipt whose effect still runs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. ``reply`` None: no exit code is known. ``looked``: the probe that came along.
    ``problem``: why it surely did not do what it should. ``began`` False: it certainly never began."""

    reply: Reply | None
    looked: Reply | None = None
    problem: str | None = None
    began: bool = True


NEVER = Ended(None, None, "the connection was lost before it began", began=False)


class Recovery:
    """Finds out how effects ended, over new connections where need be."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def found(self, session: HostSession, op: str, attempt: str, resolved: Resolved,
              trouble: TransportError | None) -> Ended:
        """How a forward effect ended whose answer did not come, because of ``trouble`` (None: with that of one before
        it). Raises `TransportError` where the host stays away."""
        if isinstance(trouble, DeadlineExceeded):
            self._end(session, op, attempt, resolved.account)
            return Ended(None, None, f"did not end within {resolved.timeout:g} s and was ended")
        known = self._run.last_intent(op, "forward")
        receipt = self.receipt(session, op, attempt, resolved.account, resolved.timeout)
        boot = known[0].boot if known is not None else ""
        return self.ended(session, op, attempt, resolved.account, receipt, boot)

    def ended(self, session: HostSession, op: str, attempt: str, account: Account | None, receipt: Receipt,
              boot: str) -> Ended:
        """What a receipt means, once nothing runs under it. ``boot``: the host's boot identity at INTENT.

        An absent receipt is made impossible to claim, so that an effect still on its way can never begin; after a
        reboot its absence proves nothing, because what a host had not written to its disk is gone.
        """
        if receipt.state == "never":
            return NEVER
        if receipt.state != "absent":
            return Ended(receipt.reply, None)
        if boot and session.facts(account).get("boot") != boot:
            return Ended(None, None)
        if session.forbid(self._run.here, op, attempt, account):
            return NEVER
        return Ended(self.receipt(session, op, attempt, account, 0.0).reply, None)

    def receipt(self, session: HostSession, op: str, attempt: str, account: Account | None, timeout: float, *,
                from_now: bool = False) -> Receipt:
        """The receipt once nothing runs under it any more: finished, dead or absent. What still runs is ended when it
        has run for ``timeout`` seconds by the host's clock since boot; ``from_now``, or where that is not known,
        when it was waited for so long. (Wall clocks are set, and those of two controllers differ.) Raises
        `TransportError` where the host cannot be reached."""
        began = time.monotonic()
        while True:
            receipt = self._ask(session, op, attempt, account)
            fault("during-recovery")
            if receipt.state != "alive":
                return receipt
            ran = time.monotonic() - began if from_now or receipt.age is None else receipt.age
            if ran >= timeout:
                self._end(session, op, attempt, account)
                continue
            self._run.sleep(min(POLL, timeout - ran))

    def _ask(self, session: HostSession, op: str, attempt: str, account: Account | None) -> Receipt:
        until = time.monotonic() + session.patience
        for delay in chain(RECONNECT_DELAYS, repeat(RECONNECT_DELAYS[-1])):
            began = time.monotonic()
            try:
                return session.receipt(self._run.here, op, attempt, account)
            except (Fenced, HostKeyMismatch):
                raise
            except TransportError as trouble:
                session.forget()
                if session.away:
                    raise
                now = time.monotonic()
                took = now - began if isinstance(trouble, Unreachable) else 0.0  # the next try may take as long
                if now + delay + took > until:
                    session.give_up(trouble)
                    raise
            self._run.sleep(delay)
        raise AssertionError("the delays never end")

    def _end(self, session: HostSession, op: str, attempt: str, account: Account | None) -> None:
        session.forget()
        session.end(self._run.here, op, attempt, account)
