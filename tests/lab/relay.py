"""Latency and loss without the kernel's netem: holds every frame for a time, and drops some, each way.

`python -m tests.lab.relay MS PERCENT NAME...`

Runs in the switch's network namespace. For every name it makes two taps, NAME (to be a port of the switch) and
p-NAME (to be moved to the host; a tap goes on working from wherever its file is open), then says "ready".
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
PR_SET_TIMERSLACK = 29


def _tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def relay(names: list[str], delay: float, loss: float) -> None:
    """Carries frames for ever; `delay` in seconds, `loss` the part of them that never arrives."""
    chance = random.Random(len(names))
    peer: dict[int, int] = {}
    for name in names:
        a, b = _tap(name), _tap(f"p-{name}")
        peer[a], peer[b] = b, a
    print("ready", flush=True)
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    held: deque[tuple[float, int, bytes]] = deque()
    poll = select.epoll()
    for fd in peer:
        poll.register(fd, select.EPOLLIN)
    while True:
        # select, not epoll, waits: its timeout has microseconds.
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        if select.select([poll.fileno()], [], [], wait)[0]:
            for fd, _ in poll.poll(0):
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        frame = os.read(fd, 65536)
                        if chance.random() >= loss:
                            held.append((time.monotonic() + delay, peer[fd], frame))
        while held and held[0][0] <= time.monotonic():
            _, fd, frame = held.popleft()
            with contextlib.suppress(OSError):  # the link is down: lost, as on a wire
                os.write(fd, frame)


if __name__ == "__main__":
    relay(sys.argv[3:], float(sys.argv[1]) / 1000, float(sys.argv[2]) / 100)
