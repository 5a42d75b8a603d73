"""The programs we are compared with, each in an environment of its own beside the repository's (``.venv-bench-*``)."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PEERS = ("ansible", "mitogen", "pyinfra")
_TRIES = 3


def environment(peer: str) -> Path:
    """The folder of ``peer``'s environment."""
    return REPOSITORY / f".venv-bench-{peer}"


def prepare(peer: str) -> Path:
    """Set up ``peer``'s environment from ``requirements/bench-PEER.txt`` unless it is there; returns its ``bin``.

    Raises subprocess.CalledProcessError where pip fails three times.
    """
    folder = environment(peer)
    pins = REPOSITORY / "requirements" / f"bench-{peer}.txt"
    digest, stamp = hashlib.sha256(pins.read_bytes()).hexdigest(), folder / ".ready"
    if stamp.is_file() and stamp.read_text() == digest:
        return folder / "bin"
    print(f"setting up {folder.name} …", file=sys.stderr, flush=True)
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "10",
           "--timeout", "60", "install", "--quiet", "--require-hashes", "-r", str(pins)]
    for left in reversed(range(_TRIES)):
        if subprocess.run(pip, check=False).returncode == 0:
            stamp.write_text(digest)
            return folder / "bin"
        time.sleep(5 if left else 0)
    raise subprocess.CalledProcessError(1, pip)


def versions(peer: str, *names: str) -> str:
    """The versions of packages in ``peer``'s environment, as ``name version``."""
    code = ("import sys; from importlib.metadata import version\n"
            "print(*(f'{name} {version(name)}' for name in sys.argv[1:]), sep=', ')")
    command = [str(environment(peer) / "bin" / "python"), "-c", code, *names]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
