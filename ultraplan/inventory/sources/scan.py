"""Services found by trying ports: ``scan:127.0.0.1:8000-8100``, for when nothing else knows where they are.

It is done only where a source says so, on loopback and private addresses, with bounds on how many connections are
tried, how many at a time, and how long it may take. A connection is opened and closed again; nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ultraplan.inventory.sources.base import Opened, Reading
from ultraplan.inventory.sources.services import add_service
from ultraplan.language.errors import Position

if TYPE_CHECKING:
    import ipaddress

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SCHEME = "scan:"
MAX_TRIES = 8192
"""How many ports of addresses one scan may try."""

AT_ONCE = 128
"""How many connections are tried at the same time."""

TRY_SECONDS, ALL_SECONDS = 0.5, 30.0
"""How long one connection may take, and a whole scan."""

_PORTS = r"\d{1,5}(?:-\d{1,5})?"
_FORM = re.compile(rf"(?P<network>\[[0-9a-fA-F:.]+\](?:/\d+)?|[0-9.]+(?:/\d+)?):(?P<ports>{_PORTS}(?:,{_PORTS})*)")


class Scan:
    """The text ``scan:NETWORK:PORTS``: an address or a network in CIDR form, and ports ``80,443,8000-8100``."""

    def claims(self, source: Opened) -> bool:
        """Whether it begins with ``scan:``."""
        return source.name.startswith(SCHEME)

    def read(self, source: Opened, into: Reading) -> None:
        """Add each address with an open port, named by the address, to the groups ``scan`` and ``port_N``."""
        import asyncio

        try:
            tries = list(parsed(source.name.removeprefix(SCHEME)))
            found = asyncio.run(_scan(tries))
        except (ValueError, TimeoutError) as error:
            into.problems.add("scan", f"{source.name}: {error}", Position(source.name, 1, 1), None,
                              "write scan:127.0.0.1:8000-8100 or scan:10.0.0.0/28:22,80")
            return
        ports: dict[str, list[int]] = {}
        for address, port in found:
            ports.setdefault(str(address), []).append(port)
        for name, many in ports.items():
            add_service(into.builder, name, ["scan", *(f"port_{port}" for port in many)], {
                "ansible_host": name, "service_port": many[0], "service_ports": [
                    {"address": name, "port": port, "target": port, "protocol": "tcp"} for port in many]})


def parsed(text: str) -> Iterator[tuple[Address, int]]:
    """The addresses and ports that ``text`` means. Raises ValueError for what is no network, not private, too much."""
    import ipaddress

    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("this is not NETWORK:PORTS")
    network = ipaddress.ip_network(re.sub(r"[\[\]]", "", found["network"]), strict=False)
    if not (network.is_loopback or network.is_private) or network.is_multicast:
        raise ValueError(f"{network} is neither this machine nor a private network; other people's are not scanned")
    ports: dict[int, None] = {}
    for part in found["ports"].split(","):
        first, _, last = part.partition("-")
        if not 0 < int(first) <= int(last or first) < 65536:
            raise ValueError(f"{part} are no ports")
        ports.update(dict.fromkeys(range(int(first), int(last or first) + 1)))
    hosts = 1 if network.num_addresses == 1 else max(1, network.num_addresses - (2 if network.version == 4 else 1))
    if hosts * len(ports) > MAX_TRIES:
        raise ValueError(f"{hosts} addresses x {len(ports)} ports are more than {MAX_TRIES} tries")
    for address in network.hosts() if network.num_addresses > 1 else [network.network_address]:
        for port in ports:
            yield address, port


async def _scan(tries: list[tuple[Address, int]]) -> list[tuple[Address, int]]:
    """Those of ``tries`` that somebody listens at, in their order. Raises TimeoutError."""
    import asyncio

    left = iter(enumerate(tries))
    opened: dict[int, tuple[Address, int]] = {}

    async def work() -> None:
        for number, (address, port) in left:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(TRY_SECONDS):
                    _, writer = await asyncio.open_connection(str(address), port)
                # A port that this machine itself just took for the attempt answers to itself; nobody listens there.
                if writer.get_extra_info("sockname") != writer.get_extra_info("peername"):
                    opened[number] = (address, port)
                writer.close()

    try:
        async with asyncio.timeout(ALL_SECONDS):
            await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(tries)))))
    except TimeoutError:
        raise TimeoutError(f"the scan was not over after {ALL_SECONDS:g} s; scan less") from None
    return [opened[number] for number in sorted(opened)]
