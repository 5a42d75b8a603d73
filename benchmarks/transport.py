"""How long programs take over each transport: ``python -m benchmarks.transport`` (root; starts an sshd on loopback).

The delay stands for distance: a relay between client and server holds every byte back for half a round trip.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Queue

from tests.transport.sshd import Sshd
from ultraplan.shell import library
from ultraplan.transport.base import Connection
from ultraplan.transport.target import Target, connector

PROGRAM = "x=1; [ -d /etc ] && echo here"
ROUND_TRIP = 0.050


def main() -> None:
    """Print one line a measurement."""
    print(f"function library: {len(library())} bytes")
    with ExitStack() as stack:
        server = Sshd(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "sshd")
        stack.callback(server.stop)
        far = relay(server.port, ROUND_TRIP / 2)
        server.known_hosts.write_text(f"* {server.public(server.host_keys[0])}\n")
        cases = [
            ("local", Target.of("local", {"ansible_connection": "local"})),
            ("ssh", server.target("ssh")),
            (f"ssh, {ROUND_TRIP * 1000:g} ms away", server.target("far", ansible_port=far)),
        ]
        for label, target in cases:
            connection = connector({target.name: target})(target.name)
            measure(label, connection, many=300 if target.name != "far" else 20)
            connection.close()


def measure(label: str, connection: Connection, many: int) -> None:
    """All figures of one connection."""
    shell = connection.shell()
    line(label, "connect and first answer", timed(lambda: shell.run(":")))
    seconds = timed(lambda: [shell.run(PROGRAM) for _ in range(many)])
    print(f"{label:22} {'one at a time':36} {many / seconds:8.0f} /s")
    line(label, "20 programs, one at a time", timed(lambda: [shell.run(PROGRAM) for _ in range(20)]))
    line(label, "20 programs, together", timed(lambda: shell.run_many([PROGRAM] * 20)))
    line(label, "1000 programs, together", timed(lambda: shell.run_many([PROGRAM] * 1000)))
    line(label, "side channel", timed(lambda: connection.side(":")))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", f"{folder}/target"
        source.write_bytes(bytes(50_000_000))
        line(label, "upload 50 MB", timed(lambda: connection.upload(source, target)))
        with open("/dev/null", "wb") as sink:  # noqa: PTH123
            line(label, "download 50 MB", timed(lambda: connection.download(target, sink)))


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def line(label: str, what: str, seconds: float) -> None:
    """Print a duration."""
    print(f"{label:22} {what:36} {seconds * 1000:8.1f} ms")


def relay(port: int, delay: float) -> int:
    """The port of a relay to ``port`` that delays each direction by ``delay`` seconds."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            client = listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", port))
            for source, sink in ((client, server), (server, client)):
                for end in (source, sink):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                queue: Queue[tuple[float, bytes]] = Queue()
                threading.Thread(target=fill, args=(source, queue), daemon=True).start()
                threading.Thread(target=drain, args=(queue, sink), daemon=True).start()

    def fill(source: socket.socket, queue: Queue[tuple[float, bytes]]) -> None:
        while data := source.recv(262144):
            queue.put((time.monotonic() + delay, data))
        queue.put((time.monotonic() + delay, b""))

    def drain(queue: Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        while True:
            due, data = queue.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sink.close()
                return
            sink.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
