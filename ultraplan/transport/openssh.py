"""Large files through the system's OpenSSH client, which encrypts two to three times as fast as paramiko does."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import paramiko

from ultraplan.transport.process import ProcessWire

_CHECK_TIMEOUT = 30.0
_PIPE = 1024 * 1024  # what an unprivileged process may ask for; with 64 KiB half the time goes into switching


class OpenSSH:
    """``ssh`` to a host that paramiko has logged in to: the same account, the same keys, and that very host key.

    A connection of its own for each command. It has no password to give and goes through no jump host; where that is
    needed, or there is no ``ssh`` here, or the host does not let it in, `usable` says so and paramiko does the work.
    """

    def __init__(self, address: str, port: int, user: str, key: paramiko.PKey, identities: Sequence[str], *,
                 agent: bool, timeout: float) -> None:
        """``key``: the host's, as it was checked. ``identities``: key files, tried in order. ``timeout``: seconds."""
        self._folder = tempfile.TemporaryDirectory(prefix="ultraplan-ssh-")  # 0700
        known = Path(self._folder.name) / "known_hosts"
        known.write_text(f"host {key.get_name()} {base64.b64encode(key.asbytes()).decode()}\n", encoding="ascii")
        options = {
            "BatchMode": "yes", "StrictHostKeyChecking": "yes", "HostKeyAlias": "host", "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null", "UpdateHostKeys": "no", "ConnectTimeout": max(1, round(timeout)),
            "ControlMaster": "no", "ControlPath": "none", "ClearAllForwardings": "yes", "ForwardAgent": "no",
            "PermitLocalCommand": "no", "RequestTTY": "no", "EscapeChar": "none", "LogLevel": "ERROR",
            "Compression": "no", "ServerAliveInterval": 10, "Ciphers": "^aes128-gcm@openssh.com",
            "IdentitiesOnly": "no" if agent else "yes", "User": user, "Port": port,
        }
        if not agent:
            options["IdentityAgent"] = "none"
        self._words = ["ssh", "-F", "none"]
        for name, value in options.items():
            self._words += ["-o", f"{name}={value}"]
        for identity in identities:
            self._words += ["-i", identity.replace("%", "%%")]
        self._words += ["--", address]

    def usable(self) -> bool:
        """Whether it gets in. Starts a connection."""
        if shutil.which("ssh") is None:
            return False
        try:
            done = subprocess.run([*self._words, "exit 0"], stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=_CHECK_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def wire(self, command: str) -> ProcessWire:
        """The shell command ``command`` on the host. Raises OSError where ``ssh`` cannot be started."""
        return _SSHWire([*self._words, command], pipe=_PIPE)

    def close(self) -> None:
        """Remove what it keeps on this machine."""
        self._folder.cleanup()


class _SSHWire(ProcessWire):
    def status(self, timeout: float) -> int | None:
        """See `Wire.status`; 255 is ssh's own word for a connection that broke (ssh(1), EXIT STATUS)."""
        status = super().status(timeout)
        return None if status == 255 else status
