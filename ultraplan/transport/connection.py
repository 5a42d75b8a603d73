"""What the local and the SSH connection share: everything but starting a process on the host."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ultraplan.shell import Account, Reply, join, portable
from ultraplan.transport import transfer
from ultraplan.transport.base import Progress, TransferFailed, Unreachable
from ultraplan.transport.become import Become, refused
from ultraplan.transport.framed import FramedShell
from ultraplan.transport.pace import Paced
from ultraplan.transport.wire import Wire

# The group is looked up: sudo and su may have given the shell one of its own. Without /proc: the shell alone.
_KILL = """\
p={pid}
if read -r line 2>/dev/null <"/proc/$p/stat"; then
	set -- ${{line##*) }}
	kill -KILL "-$3"
else
	kill -KILL "$p"
fi
"""
_KILL_TIMEOUT = 10.0


class WiredConnection(ABC):
    """A `Connection` over processes that a subclass starts.

    ``user``: the account that logs in; becoming it is left out, so that a host needs no sudo for it.
    ``shell_path``: the POSIX shell there. ``bandwidth``: bytes a second that a file may take; None for no limit.
    """

    def __init__(self, host: str, user: str, shell_path: str, become: Become, bandwidth: int | None = None) -> None:
        self.host = host
        self.user = user
        self._sh = shell_path
        self._become = become
        self._bandwidth = bandwidth
        self._shells: dict[tuple[Account | None, int], FramedShell] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def _spawn(self, command: str) -> Wire:
        """Start the shell command ``command``, without a terminal. Raises `Unreachable`, `ConnectionLost`."""

    def _large_apart(self) -> bool:
        """Whether `_spawn_large` does something else than `_spawn`."""
        return False

    def _spawn_large(self, command: str) -> Wire:
        """The same for a command that moves much data, where there is a faster way to the host."""
        return self._spawn(command)

    def shell(self, account: Account | None = None, lane: int = 0) -> FramedShell:
        """See `Connection.shell`."""
        key = (self._other(account), lane)
        with self._lock:
            if key not in self._shells:
                self._shells[key] = self._framed(key[0])
            return self._shells[key]

    def side(self, text: str, account: Account | None = None, *, timeout: float = 30.0) -> Reply:
        """See `Connection.side`."""
        shell = self._framed(self._other(account))
        try:
            return shell.run(text, timeout=timeout)
        finally:
            shell.close()

    def upload(self, source: bytes | Path | BinaryIO, path: str, account: Account | None = None,
               progress: Progress | None = None) -> None:
        """See `Connection.upload`."""
        account, path = self._other(account), transfer.safe(path)
        scratch = transfer.scratch(path)
        with transfer.opened(source) as (stream, size):
            expected = "-" if size is None else str(size)
            large = size is None or size > transfer.LARGE
            wire = self._carrier(account, ("-c", transfer.RECEIVE, "sh", path, scratch, expected), large=large)
            try:
                sent, answer = transfer.send(self.host, wire, stream, size, progress)
            except TransferFailed as error:
                raise TransferFailed(self.host, f"{path}: {error}") from None
            finally:
                wire.close()
        if size is None:
            reply = self.side(f"set -- {join((path, scratch, str(sent)))}\n{transfer.COMMIT}", account)
            if reply.exit != 0:
                got = answer.decode("ascii", "replace").strip()
                raise TransferFailed(self.host, f"{path}: got {got} of {sent} bytes")

    def download(self, path: str, sink: BinaryIO, account: Account | None = None,
                 progress: Progress | None = None) -> None:
        """See `Connection.download`."""
        path, account = transfer.safe(path), self._other(account)
        mark = transfer.new_mark()
        words = ("-c", transfer.SEND, "sh", path, mark)
        wire = self._carrier(account, words)
        try:
            size, first = transfer.announced(self.host, wire, mark)
            if size > transfer.LARGE and self._large_apart():
                wire.close()
                wire = self._carrier(account, words, large=True)
                size, first = transfer.announced(self.host, wire, mark)
            transfer.receive(self.host, wire, size, first, sink, progress)
        except TransferFailed as error:
            raise TransferFailed(self.host, f"{path}: {error}") from None
        finally:
            wire.close()

    def channel(self, text: str, account: Account | None = None) -> Wire:
        """A process of its own that runs ``text``, its three streams free. The text stands in the host's process list:
        no secrets. For what moves much."""
        return self._carrier(self._other(account), ("-c", text), large=True)

    def close(self) -> None:
        """See `Connection.close`."""
        with self._lock:
            shells = list(self._shells.values())
        for shell in shells:
            shell.close()

    # -- below: how

    def _other(self, account: Account | None) -> Account | None:
        return None if account is None or account.user == self.user else account

    def _framed(self, account: Account | None) -> FramedShell:
        return FramedShell(self.host, partial(self._start, account), partial(self._end_group, account),
                           partial(self._explain, account))

    def _carrier(self, account: Account | None, arguments: tuple[str, ...], *, large: bool = False) -> Wire:
        """`_start` for a file."""
        wire = self._start(account, arguments, large=large)
        return wire if self._bandwidth is None else Paced(wire, self._bandwidth)

    def _start(self, account: Account | None, arguments: tuple[str, ...] = (), *, large: bool = False) -> Wire:
        """The host's `sh` with ``arguments``, as ``account``, its stdin free for what is to come."""
        command, dialogue = self._become.command(self.host, account, (self._sh, *portable(arguments)))
        wire = self._spawn_large(command) if large else self._spawn(command)
        if dialogue is not None:
            try:
                dialogue.hold(wire)
            except BaseException:
                wire.close()
                raise
        return wire

    def _end_group(self, account: Account | None, pid: int) -> None:
        self.side(_KILL.format(pid=pid), account, timeout=_KILL_TIMEOUT)

    def _explain(self, account: Account | None, status: int | None, said: str) -> Unreachable:
        if account is not None:
            return refused(self.host, account, said)
        how = "the shell ended at once" + ("" if status is None else f" with exit {status}")
        return Unreachable(
            self.host, how + (f": {said[-500:]}" if said else ""),
            f"the account needs a login shell that runs commands, and {self._sh} must be a POSIX shell")
