"""What clients of a lab need: keys, ssh_config, known_hosts, an inventory, and a list for programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.lab.spec import Host, Kind, Layout, Options, gateway


def write(layout: Layout, options: Options, hosts: list[Host], supervisor: int, parent: int) -> None:
    """Writes the client files into the lab's folder; they belong to the lab's owner."""
    keys = {h.name: (layout.disks / "keys" / f"{h.name}.pub").read_text().split()[:2] for h in hosts}
    files = {
        layout.known_hosts: "".join(f"{h.address},{h.name} {' '.join(keys[h.name])}\n" for h in hosts),
        layout.ssh_config: _ssh_config(layout, hosts),
        layout.inventory: _inventory(layout, hosts),
        layout.state: json.dumps(
            {
                "supervisor": supervisor,
                "parent": parent,
                "interface": f"ulab{hosts[0].slot}",
                "gateway": gateway(hosts[0].slot),
                "delay_ms": options.delay_ms,
                "pam": options.pam,
                "hosts": [
                    {"name": h.name, "kind": h.kind, "index": h.index, "slot": h.slot, "address": h.address}
                    for h in hosts
                ],
            },
            indent=1,
        )
        + "\n",
    }
    for path, text in files.items():
        path.write_text(text)
    for path in (*files, layout.key, layout.key.with_suffix(".pub")):
        os.chown(path, options.owner, -1)


def _ssh_config(layout: Layout, hosts: list[Host]) -> str:
    each = "".join(f"Host {h.name} {h.address}\n  HostName {h.address}\n  HostKeyAlias {h.name}\n" for h in hosts)
    return each + (
        f"Host *\n  User root\n  IdentityFile {layout.key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {layout.known_hosts}\n  StrictHostKeyChecking yes\n"
    )


def _inventory(layout: Layout, hosts: list[Host]) -> str:
    """An Ansible inventory with a group for every kind. Written by hand: the lab needs nothing but Python."""
    known = _quoted(f"-o UserKnownHostsFile={layout.known_hosts}")
    lines = [
        "all:",
        "  vars:",
        "    ansible_user: root",
        "    ansible_port: 22",
        f"    ansible_ssh_private_key_file: {_quoted(layout.key)}",
        f"    ansible_ssh_common_args: {known}",
        "  children:",
    ]
    for kind in Kind:
        members = [h for h in hosts if h.kind is kind]
        if members:
            lines += [f"    {kind}:", "      hosts:"]
            lines += [f"        {h.name}: {{ansible_host: {h.address}}}" for h in members]
    return "\n".join(lines) + "\n"


def _quoted(value: str | Path) -> str:
    return json.dumps(str(value))
