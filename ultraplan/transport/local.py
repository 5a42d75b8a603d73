"""The controller itself as a host."""

from __future__ import annotations

import os
import pwd

from ultraplan.transport.base import Unreachable
from ultraplan.transport.become import Become
from ultraplan.transport.connection import WiredConnection
from ultraplan.transport.process import ProcessWire


class LocalConnection(WiredConnection):
    """``ansible_connection: local``: the same framed shells, on pipes instead of SSH channels."""

    def __init__(self, host: str, shell_path: str = "/bin/sh", become: Become | None = None) -> None:
        super().__init__(host, _user(), shell_path, become or Become())

    def _spawn(self, command: str) -> ProcessWire:
        try:
            return ProcessWire(("/bin/sh", "-c", command))
        except OSError as error:
            raise Unreachable(self.host, f"cannot start a shell: {error.strerror}") from None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
