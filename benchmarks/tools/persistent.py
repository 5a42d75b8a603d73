"""The raw script itself: ``python -m benchmarks.tools.persistent WANTED.json first|again|preview [--ahead]``.

What somebody writes who wants nothing but speed and has paramiko at hand: a thread and a connection for each host,
small packets sent at once, one ``sh``, a line of text for each step and its exit code back.
"""

from __future__ import annotations

import json
import shlex
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.work import MODE, Work


def steps(work: Work) -> list[str]:
    """What each step does: a file appears whole and with its mode, or a command runs."""
    lines = []
    for number in work.numbers():
        path = shlex.quote(work.path(number))
        lines.append(f"printf %s {shlex.quote(work.content(number))} >{path}.new && chmod {MODE} {path}.new && "
                     f"mv {path}.new {path}")
        lines.append(shlex.join(work.command(number)))
    return lines


def looks(work: Work) -> list[str]:
    """A preview: read what is there; the comparison is the caller's."""
    paths = [shlex.quote(work.path(number)) for number in work.numbers()]
    return [f"if [ -e {path} ]; then ls -ln {path} && cat {path}; fi" for path in paths]


def carry_out(wanted: dict[str, Any], address: str, lines: list[str], *, ahead: bool) -> None:
    """Run ``lines`` on one host. Raises RuntimeError at the first that fails."""
    import paramiko

    client = paramiko.SSHClient()
    client.load_host_keys(wanted["known_hosts"])
    sock = socket.create_connection((address, 22), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(address, username="root", key_filename=wanted["key"], sock=sock, allow_agent=False,
                   look_for_keys=False)
    try:
        transport = client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.exec_command("exec sh")
        output = channel.makefile("rb")
        framed = [f"{{ {line}\n}} </dev/null; _s=$?; echo; echo :$_s:\n".encode() for line in lines]
        if ahead:
            threading.Thread(target=channel.sendall, args=(b"".join(framed),), daemon=True).start()
        for text, line in zip(framed, lines, strict=True):
            if not ahead:
                channel.sendall(text)
            answer = b""
            while not (answer.startswith(b":") and answer.endswith(b":\n")):
                answer = output.readline()
                if not answer:
                    raise RuntimeError(f"{address}: lost")
            if answer != b":0:\n":
                raise RuntimeError(f"{address}: {line[:60]}: {answer!r}")
    finally:
        client.close()


def main() -> int:
    """Returns 1 where any host failed."""
    wanted = json.loads(Path(sys.argv[1]).read_text())
    work = Work(wanted["files"])
    lines = looks(work) if sys.argv[2] == "preview" else steps(work)
    failed: list[str] = []

    def one(address: str) -> None:
        try:
            carry_out(wanted, address, lines, ahead="--ahead" in sys.argv[3:])
        except Exception as error:  # noqa: BLE001 -- told below, for every host
            failed.append(f"{address}: {error}")

    threads = [threading.Thread(target=one, args=(address,)) for address in wanted["addresses"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
