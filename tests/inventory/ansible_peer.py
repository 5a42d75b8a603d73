"""Answers, from inside the environment that has ansible-core, what Ansible makes of an inventory.

It is run by that environment's interpreter, never imported by ours. It drives the classes behind `ansible-inventory`
and `ansible --list-hosts` in one process, for starting them costs about a second a time: each line of stdin is a
request, each line of stdout its answer, both JSON.
"""

import contextlib
import json
import sys


class OrderedSet(dict):
    """A set that keeps insertion order.

    Ansible walks a group's descendants level by level, and holds a level in a `set` of groups, so that from the second
    level on the order of hosts is that of memory addresses. With this in place of `set` it is that of the inventory.
    """

    def __init__(self, items=()):
        super().__init__((item, None) for item in items)

    def add(self, item):
        self[item] = None

    def update(self, items):
        super().update((item, None) for item in items)

    def difference_update(self, items):
        for item in items:
            self.pop(item, None)


import ansible.inventory.group  # noqa: E402

ansible.inventory.group.set = OrderedSet

from ansible import context  # noqa: E402
from ansible._internal._json._profiles import _inventory_legacy  # noqa: E402
from ansible.cli.inventory import InventoryCLI  # noqa: E402
from ansible.errors import AnsibleError  # noqa: E402
from ansible.inventory.manager import InventoryManager  # noqa: E402
from ansible.module_utils.common.collections import ImmutableDict  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: E402
from ansible.plugins.loader import init_plugin_loader  # noqa: E402
from ansible.vars.manager import VariableManager  # noqa: E402


def inventory(request):
    """`ansible-inventory --list` and `--graph`, and for each [pattern, limit] `ansible PATTERN --limit … --list-hosts`
    (None where Ansible refuses it)."""
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=request["sources"])
    command = InventoryCLI(["ansible-inventory", "--list"])
    command.loader, command.inventory = loader, manager
    command.vm = VariableManager(loader=loader, inventory=manager)
    listed = command.json_inventory(manager.groups["all"])
    return {
        "list": json.loads(json.dumps(listed, cls=_inventory_legacy.Encoder, sort_keys=False)),
        "graph": command.inventory_graph(),
        "hosts": [hosts(manager, *pattern) for pattern in request["patterns"]],
    }


def hosts(manager, pattern, limit):
    try:
        manager.subset(limit)
        return [host.name for host in manager.get_hosts(pattern)]
    except AnsibleError:
        return None


def encrypt(request):
    """`ansible-vault encrypt`."""
    secret = VaultSecret(request["password"].encode())
    return VaultLib().encrypt(request["text"], secret, vault_id=request["label"]).decode()


def decrypt(request):
    """`ansible-vault decrypt`."""
    secret = VaultSecret(request["password"].encode())
    return VaultLib([("default", secret)]).decrypt(request["text"].encode()).decode()


def main():
    init_plugin_loader()
    context.CLIARGS = ImmutableDict(export=False, basedir=None, show_vars=False, pattern="all", yaml=False, toml=False)
    answers = {"inventory": inventory, "encrypt": encrypt, "decrypt": decrypt}
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            answer = answers[request["ask"]](request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
