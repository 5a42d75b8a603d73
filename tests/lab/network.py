"""The lab's network: a switch in a network namespace of its own, and one port for each host.

All functions run in the supervisor, in its private mount namespace, where network namespaces are kept as files
(`disks/net/…`, bind mounts of nsfs); when that mount namespace ends, so do they, and with them every interface.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.spec import PREFIX, SLOTS, Host, LabError, Layout, Options, gateway, gateway_mac

DISABLED, FORWARDING = 0, 3  # states of a bridge port (linux/if_bridge.h)


def _ip(lines: list[str], netns: Path | None = None, program: str = "ip") -> None:
    """Runs `ip` (or `bridge`) commands in one process, in the network namespace `netns`."""
    enter = ["nsenter", f"--net={netns}"] if netns else []
    command = [*enter, program, "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    if done.returncode:
        raise LabError(f"{program}: {done.stderr.strip()}")


class Network:
    """The switch and its ports. The machine's end of it is the interface `ulab<slot>`."""

    def __init__(self, layout: Layout, options: Options) -> None:
        self._files = layout.disks / "net"
        self._files.mkdir()
        self._options = options
        self._switch = self._netns("switch")
        self._of: dict[str, Path] = {}
        self._hosts: list[Host] = []
        self._boots = 0
        self.slot = self._claim()

    def _netns(self, name: str) -> Path:
        file = self._files / name
        file.touch()
        # Not `unshare --net=FILE`: it asks /proc, which counts as the machine does, for its PID as counted in here.
        subprocess.run(["unshare", "--net", "mount", "--bind", "/proc/self/ns/net", file], check=True)
        return file

    def _claim(self) -> int:
        """Takes the first free slot. The kernel is the judge: an interface's name exists once."""
        for slot in range(SLOTS):
            try:
                _ip([f"link add ulab{slot} address {gateway_mac(slot)} type veth peer name ctl netns {self._switch}"])
            except LabError as error:
                if "File exists" in str(error):
                    continue
                raise
            # No address on the bridge itself: it would be without carrier for a second after its first port is up.
            _ip(["link add br0 type bridge stp_state 0", "link set br0 up", "link set ctl master br0 up"], self._switch)
            _ip([f"link set ulab{slot} up", f"addr add {gateway(slot)}/{PREFIX} dev ulab{slot}"])
            return slot
        raise LabError(f"all {SLOTS} networks are taken (interfaces ulab0 …); is there a route for 198.18.0.0/15?")

    def connect(self, hosts: list[Host]) -> None:
        """Makes a cable for every host: a veth, or with a delay two taps and a relay between them."""
        self._hosts = hosts
        # Fixed neighbours, no ARP: so a connection to a host that was cut off meets silence, not EHOSTUNREACH.
        _ip([f"neigh add {h.address} lladdr {h.mac} dev ulab{self.slot} nud permanent" for h in hosts])
        if self._options.delay_ms or self._options.loss_percent:
            self._relay(hosts)
        else:
            _ip([f"link add {h.name} type veth peer name p-{h.name}" for h in hosts], self._switch)
        _ip([f"link set {h.name} master br0 up" for h in hosts], self._switch)

    def _relay(self, hosts: list[Host]) -> None:
        command = [sys.executable, "-m", "tests.lab.relay", str(self._options.delay_ms),
                   str(self._options.loss_percent), *(h.name for h in hosts)]
        relay = subprocess.Popen(["nsenter", f"--net={self._switch}", *command], stdout=subprocess.PIPE)
        assert relay.stdout
        if relay.stdout.readline() != b"ready\n":
            raise LabError("the latency relay did not start (is there /dev/net/tun?)")

    def plug(self, host: Host) -> Path:
        """Gives the host a fresh network namespace with its end of the cable in it; returns the namespace's file.

        Fresh at every boot: the old one may hold half-closed connections, and a rebooted machine knows of none.
        """
        self._boots += 1
        netns, old = self._netns(f"{host.name}.{self._boots}"), self._of.get(host.name)
        device = "eth0" if old else f"p-{host.name}"
        _ip([f"link set {device} netns {netns}"], old or self._switch)
        if old:
            subprocess.run(["umount", old], check=True)
            old.unlink()
        self._of[host.name] = netns
        others = [h for h in self._hosts if h is not host]
        neighbours = [(h.address, h.mac) for h in others] + [(gateway(self.slot), gateway_mac(self.slot))]
        _ip(
            ([] if device == "eth0" else [f"link set {device} name eth0"])
            + ["link set lo up", f"link set eth0 address {host.mac}", f"addr add {host.address}/{PREFIX} dev eth0"]
            + ["link set eth0 up"]
            + [f"neigh add {address} lladdr {mac} dev eth0 nud permanent" for address, mac in neighbours],
            netns,
        )
        self._await_carrier(host)
        return netns

    def _await_carrier(self, host: Host) -> None:
        """Heals the port; until word of the cable's new end gets round in the kernel, it cannot be."""
        for _ in range(500):
            with contextlib.suppress(LabError):
                return self.heal([host])
            time.sleep(0.01)
        return self.heal([host])

    def cut(self, hosts: list[Host]) -> None:
        """From now on every frame from and to the hosts is lost; nobody is told. Their carrier stays up."""
        self._set(hosts, DISABLED)

    def heal(self, hosts: list[Host]) -> None:
        """Ends a cut; connections that were open during it go on."""
        self._set(hosts, FORWARDING)

    def _set(self, hosts: list[Host], state: int) -> None:
        # `ip link set … type bridge_slave state` is accepted, and does nothing.
        _ip([f"link set dev {h.name} state {state}" for h in hosts], self._switch, program="bridge")

    def remove(self) -> None:
        """Takes the machine's end away at once; the rest ends with the namespaces."""
        _ip([f"link del ulab{self.slot}"])
