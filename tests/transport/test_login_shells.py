"""Accounts whose login shell is no POSIX shell, or whose start-up files print and set odd things."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import world
from tests.acceptance.world import COUNTER, World, differences
from tests.lab.tree import Tree
from ultraplan.transport.target import Target, connector

__all__ = ["world"]
pytestmark = pytest.mark.lab

NOISE = ("echo 'Welcome to the machine!'; echo 12; printf 'no newline '; echo loud >&2; PS1='% '; "
         "alias ls='ls -la'; set -u\n")
ACCOUNTS = {
    "csher": ("/usr/bin/csh", {".cshrc": "echo 'csh says hello!'\nalias exit 'echo no'\n", ".login": "echo login\n"}),
    "fisher": ("/usr/bin/fish", {".config/fish/config.fish": "echo 'fish says hello!'; function ls; echo no; end\n"}),
    "basher": ("/bin/bash", {".bashrc": NOISE, ".profile": NOISE, ".bash_profile": NOISE}),
    "dasher": ("/bin/sh", {".profile": NOISE, ".kshrc": NOISE}),
}
AWKWARD = "it's a \"tree\" \\n \\\\ ! $HOME `id` %b\nand a line"
STEPS = f"""
- {{id: config, file: {{path: /srv/config, content: "{{{{ vars.odd }}}}"}}, become: true}}
- id: count
  command: {{argv: [sh, -c, 'printf "<%s>" "$1" >>{COUNTER}', sh, "{{{{ vars.odd }}}}"]}}
  become: true
  undo: {{command: "echo undid >>{COUNTER}", become: true}}
- id: script
  script: {{content: "printf '%s\\\\n' \\"$@\\"", args: ["{{{{ vars.odd }}}}"]}}
  reads_only: true
- {{id: tree, copy: {{source: tree, path: /srv/tree}}, become: true}}
- {{id: mine, file: {{path: "{{{{ vars.home }}}}/mine", content: "mine"}}}}
"""


@pytest.mark.parametrize("account", ["csher", "fisher", *(
    pytest.param(name, marks=pytest.mark.long) for name in ("basher", "dasher"))])
def test_a_plan_works_whatever_the_login_shell_is(world: Callable[..., World], account: str) -> None:
    here = world(1)
    host, = here.hosts
    shell, files = ACCOUNTS[account]
    assert os.path.exists(shell), f"{shell} is missing: `make system` installs it"  # noqa: PTH110
    here.sh(f"mkdir -p /srv; useradd -m -p '*' -s {shell} {account}; cp -r /root/.ssh /home/{account}/; "
            f"echo '{account} ALL=(ALL) NOPASSWD: ALL' >>/etc/sudoers")
    for name, text in files.items():
        path = here.lab.path(host, f"/home/{account}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    here.sh(f"chown -R {account}: /home/{account}; : >{COUNTER}; chmod 666 {COUNTER}")
    here.inventory({host: {}}, ansible_user=account)
    here.write(f"tree/{AWKWARD}", b"\0\xff" * 400_000)
    plan = here.plan(STEPS, vars={"odd": AWKWARD, "home": f"/home/{account}"})
    before = _ours(here, host)

    here.apply(plan, timeout=60).expect(0)

    assert here.text(host, "/srv/config") == AWKWARD
    assert here.text(host, COUNTER) == f"<{AWKWARD}>"
    assert here.lab.path(host, f"/srv/tree/{AWKWARD}").read_bytes() == b"\0\xff" * 400_000
    assert here.text(host, f"/home/{account}/mine") == "mine"
    _download(here, host, account)
    here.run("rollback", "--yes", timeout=60).expect(0)
    assert differences(before, _ours(here, host)) == []


def _ours(here: World, host: str) -> dict[str, Tree]:
    """What the plan changes: sudo and the shells keep notes of their own."""
    return {host: {path: entry for path, entry in here.trees()[host].items() if "/srv" in path or "/mine" in path}}


def _download(here: World, host: str, account: str) -> None:
    target = Target.of(host, {"ansible_host": here.lab.hosts[host].address, "ansible_user": account,
                              "ansible_ssh_private_key_file": str(here.lab.layout.key),
                              "ansible_ssh_common_args": f"-o HostKeyAlias={host}"})
    connection = connector({host: target}, known_hosts=here.lab.layout.known_hosts)(host)
    sink = io.BytesIO()
    try:
        connection.download(f"/srv/tree/{AWKWARD}", sink)
    finally:
        connection.close()
    assert sink.getvalue() == b"\0\xff" * 400_000
