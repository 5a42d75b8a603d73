"""The hosts of a run, each with its session, opened when first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ultraplan.engine.hosts import PATIENCE, HostSession
from ultraplan.engine.resolve import Resolved
from ultraplan.inventory.model import Host, Inventory
from ultraplan.inventory.variables import HostVars, World
from ultraplan.secrets import Secrets, has_marker
from ultraplan.shell import Account, Program, Reply
from ultraplan.steps.base import Context, Reader, StepType, Writer
from ultraplan.transport.base import Connect
from ultraplan.transport.streaming import exchange
from ultraplan.transport.target import Target


def _nobody(node: str, host: str, question: str, deadline: float | None) -> bool:
    raise TimeoutError("nobody is there to answer")


class Fleet:
    """Sessions by host. ``pre_images``: a folder on the controller for what its own steps replace.

    ``connections`` makes a way to the hosts that shares no connection with those before.
    ``patience``: for how many seconds a host that was lost is tried to be reached again.
    ``wait``, ``ask`` and ``log`` are what controller steps get (see `ultraplan.steps.base.Context`); ``ask`` is also
    told which node and host ask.
    """

    def __init__(self, inventory: Inventory, targets: Mapping[str, Target], connections: Callable[[], Connect],
                 secrets: Secrets, registry: Mapping[str, StepType[Any]], pre_images: Path,
                 patience: float = PATIENCE) -> None:
        self.secrets = secrets
        self.registry = registry
        self._inventory = inventory
        self._world = World(inventory)
        self._targets = targets
        self._connections = connections
        self._connect = connections()
        self._pre_images = pre_images
        self._patience = patience
        self._sessions: dict[str, HostSession] = {}
        self._replaced: list[HostSession] = []
        self._lock = threading.Lock()
        self.wait: Callable[[float], None] = lambda seconds: None
        self.ask: Callable[[str, str, str, float | None], bool] = _nobody
        self.log: Callable[[str], None] = lambda line: None

    def host(self, name: str) -> Host:
        """The inventory's host."""
        return self._inventory.hosts[name]

    def session(self, name: str) -> HostSession:
        """The host's session; nothing is sent before its first use."""
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = HostSession(self._inventory.hosts[name], self._connect(name), self.secrets,
                                                   self._targets[name].state_dir, self._patience)
            return self._sessions[name]

    def fresh(self, name: str) -> HostSession:
        """The host over a connection of its own, which nothing was sent over yet; for the caller to close or to
        `replace` the host's session with."""
        return HostSession(self._inventory.hosts[name], self._connections()(name), self.secrets,
                           self._targets[name].state_dir, self._patience)

    def replace(self, name: str, session: HostSession) -> None:
        """From now on ``session`` is the host's. What goes on over the one before is not disturbed."""
        with self._lock:
            before = self._sessions.get(name)
            if before is not None:
                session.learn(before)
                self._replaced.append(before)
            self._sessions[name] = session

    def context(self, resolved: Resolved, host: str, op: str = "", node: str = "") -> Context:
        """What a controller step works with; ``op`` names its own folder for the way back, ``node`` who asks."""
        return Context(host=_Access(self.session(host), resolved.account, self._world[host]), secrets=self.secrets,
                       preimage=self._pre_images / op, base=resolved.base, wait=self.wait,
                       ask=partial(self.ask, node, host), log=self.log, environment=resolved.environment)

    def opened(self) -> list[HostSession]:
        """The sessions that were used."""
        with self._lock:
            return list(self._sessions.values())

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for session in (*self._replaced, *self._sessions.values()):
                session.connection.close()
            self._sessions.clear()
            self._replaced.clear()


class _Access:
    """`ultraplan.steps.base.HostAccess` over a session."""

    def __init__(self, session: HostSession, account: Account | None, variables: HostVars) -> None:
        self._session, self._account = session, account
        self.name = session.name
        self.address = variables.address
        self.vars: Mapping[str, Any] = variables

    def run(self, program: Program) -> Reply:
        return self._session.look([program], self._account)[0]

    def download(self, path: str, to: Path) -> None:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with to.open("wb") as sink:
            to.chmod(0o600)
            self._session.connection.download(path, sink, self._account)

    def upload(self, source: Path, path: str) -> None:
        self._session.connection.upload(source, path, self._account)

    def stream(self, program: Program, sink: Writer) -> Reply:
        return exchange(self._session.connection, _plain(program), self._account, sink=sink)

    def feed(self, program: Program, source: Reader) -> Reply:
        return exchange(self._session.connection, _plain(program), self._account, source=source)


def _plain(program: Program) -> str:
    if has_marker(program.text):
        raise ValueError("a streamed program stands in the host's process list, and would show a secret there")
    return program.text
