"""A real sshd on loopback: own host keys, own configuration, own authorized_keys, all in one folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from ultraplan.transport.target import Target


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def make_key(path: Path, kind: str = "ed25519", *, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
    return path


class Sshd:
    """``key``: the client key that every account may log in with; ``known_hosts``: knows this server's host key.
    ``wrap``: words that start it, in namespaces of its own for example."""

    def __init__(self, folder: Path, *, host_keys: tuple[str, ...] = ("ed25519",), extra: str = "",
                 wrap: tuple[str, ...] = ()) -> None:
        self.folder, self.port, self._wrap = folder, free_port(), wrap
        folder.mkdir(mode=0o700, parents=True)
        self.key = make_key(folder / "client")
        (folder / "authorized_keys").write_bytes((folder / "client.pub").read_bytes())
        self.host_keys = [make_key(folder / f"host_{kind}", kind) for kind in host_keys]
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text("".join(f"{self.name} {self.public(key)}\n" for key in self.host_keys))
        Path("/run/sshd").mkdir(exist_ok=True)
        (folder / "sshd_config").write_text("\n".join([
            f"Port {self.port}", "ListenAddress 127.0.0.1", *(f"HostKey {key}" for key in self.host_keys),
            # By a command, for sshd reads a file as the account, which may not enter this folder.
            f"AuthorizedKeysFile none\nAuthorizedKeysCommand /bin/cat {folder}/authorized_keys",
            "AuthorizedKeysCommandUser root", "PermitRootLogin prohibit-password",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no", "StrictModes no",
            f"PidFile {folder}/pid", "MaxStartups 100",
            f"SetEnv HOME={folder}",  # bash reads its .bashrc under sshd, and whatever that does takes time
            extra, ""]))
        self._log = (folder / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def name(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    @staticmethod
    def public(key: Path) -> str:
        return " ".join(key.with_name(key.name + ".pub").read_text().split()[:2])

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self._wrap, "/usr/sbin/sshd", "-D", "-e", "-f", f"{self.folder}/sshd_config"],
            stdout=self._log, stderr=self._log, start_new_session=True)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text())

    def log(self) -> str:
        """What it said so far."""
        return (self.folder / "log").read_text()

    def children(self) -> list[int]:
        """The processes that serve connections."""
        assert self._process is not None
        text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def signal_connections(self, number: signal.Signals) -> None:
        for pid in self.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        self.signal_connections(signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def variables(self, **more: object) -> dict[str, object]:
        """Ansible's variables that lead here."""
        return {"ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": "root",
                "ansible_ssh_private_key_file": str(self.key),
                "ansible_ssh_common_args":
                    f"-F /dev/null -o IdentitiesOnly=yes -o UserKnownHostsFile={self.known_hosts}",
                **more}

    def target(self, name: str = "box", **more: object) -> Target:
        return Target.of(name, self.variables(**more))
