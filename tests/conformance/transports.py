"""Every transport there is, for the suite that all of them pass."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.transport.sshd import Sshd
from ultraplan.transport.connection import WiredConnection
from ultraplan.transport.target import Target, connector

NAMES = ("local-dash", "local-busybox", "ssh-dash", "ssh-busybox")


@contextmanager
def opened(name: str) -> Iterator[WiredConnection]:
    """The connection called ``name``, to this machine."""
    kind, _, shell = name.partition("-")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # its shell is for other accounts too
        path = "/bin/dash"
        if shell == "busybox":
            path = f"{folder}/sh"
            Path(path).symlink_to("/usr/bin/busybox")  # by this name it is its shell
        if kind == "local":
            with _closing(Target.of("box", {"ansible_connection": "local", "ansible_shell_executable": path})) as it:
                yield it
            return
        server = Sshd(Path(folder) / "sshd")
        try:
            with _closing(server.target(ansible_shell_executable=path)) as it:
                yield it
        finally:
            server.stop()


@contextmanager
def _closing(target: Target) -> Iterator[WiredConnection]:
    connection = connector({"box": target})("box")
    assert isinstance(connection, WiredConnection)
    try:
        yield connection
    finally:
        connection.close()
