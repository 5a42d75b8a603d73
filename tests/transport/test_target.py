"""Ansible's connection variables say how a host is reached."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ultraplan.secrets import marker
from ultraplan.shell import Account
from ultraplan.transport.base import TransportError
from ultraplan.transport.target import Target, connector

GOOD: list[tuple[dict[str, object], Target]] = [
    ({}, Target("h", address="h")),
    ({"ansible_connection": "local"}, Target("h", local=True, address="h")),
    ({"ansible_connection": "local", "ansible_ssh_common_args": "-Z"}, Target("h", local=True, address="h")),
    ({"ansible_connection": "paramiko"}, Target("h", address="h")),
    ({"ansible_host": "10.0.0.7", "ansible_port": 2222, "ansible_user": "op"},
     Target("h", address="10.0.0.7", options=(("Port", "2222"), ("User", "op")))),
    ({"ansible_ssh_host": "old.example", "ansible_ssh_port": "22"},
     Target("h", address="old.example", options=(("Port", "22"),))),
    ({"ansible_host": "fe80::1%eth0"}, Target("h", address="fe80::1%eth0")),
    ({"ansible_ssh_private_key_file": "~/a key"}, Target("h", address="h", options=(("IdentityFile", "~/a key"),))),
    ({"ansible_ssh_common_args": "-o ProxyJump=a,b -J c -o 'User x' -oPort=7 -q -i '/a b' -F /x/config -lroot"},
     Target("h", address="h", config_file="/x/config", options=(
         ("ProxyJump", "a,b"), ("ProxyJump", "c"), ("User", "x"), ("Port", "7"), ("IdentityFile", "/a b"),
         ("User", "root")))),
    ({"ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=60s",
      "ansible_ssh_extra_args": "-o proxycommand='nc %h %p'"},
     Target("h", address="h", options=(("ProxyCommand", "nc %h %p"),))),
    ({"ansible_become": True}, Target("h", address="h", become_always=True)),
    ({"ansible_become": "yes", "ansible_become_user": "pg", "ansible_become_method": "doas",
      "ansible_become_password": "s"},
     Target("h", address="h", become_always=True, become_as=Account("pg", "doas"), become_password="s")),
    ({"ansible_become": "no", "ansible_become_user": "pg"}, Target("h", address="h", become_as=Account("pg"))),
    ({"ansible_become_pass": "p", "ansible_ssh_pass": "q"},
     Target("h", address="h", become_password="p", password="q")),
    ({"ansible_become_password": {"secret": "env:SUDO"}},
     Target("h", address="h", become_password=marker("env:SUDO"))),
    ({"ultraplan_bandwidth": 4096}, Target("h", address="h", bandwidth=4096)),
    ({"ultraplan_bandwidth": "7B"}, Target("h", address="h", bandwidth=7)),
    ({"ultraplan_bandwidth": "500kB"}, Target("h", address="h", bandwidth=500_000)),
    ({"ultraplan_bandwidth": "2GB"}, Target("h", address="h", bandwidth=2_000_000_000)),
    ({"ansible_shell_executable": "/bin/ash", "ultraplan_state_dir": "/var/x"},
     Target("h", address="h", shell_path="/bin/ash", state_dir="/var/x")),
]


@pytest.mark.parametrize(("variables", "expected"), GOOD)
def test_variables_become_a_target(variables: dict[str, object], expected: Target) -> None:
    assert Target.of("h", variables) == expected


BAD: list[tuple[dict[str, object], str]] = [
    ({"ansible_connection": "winrm"}, "ansible_connection"),
    ({"ansible_port": "ssh"}, "ansible_port"),
    ({"ansible_port": 70000}, "ansible_port"),
    ({"ansible_host": "-oProxyCommand=id"}, "ansible_host"),
    ({"ansible_host": "a b"}, "ansible_host"),
    ({"ansible_host": "x\nProxyCommand id"}, "ansible_host"),
    ({"ansible_host": "*"}, "ansible_host"),
    ({"ansible_user": "x\nProxyCommand id"}, "User"),
    ({"ansible_ssh_common_args": "-o Ciphers=none"}, "Ciphers=none is not supported"),
    ({"ansible_ssh_common_args": "-o"}, "-o"),
    ({"ansible_ssh_common_args": "-L 1:h:2"}, "-L is not supported"),
    ({"ansible_ssh_common_args": "evil"}, "evil is not supported"),
    ({"ansible_ssh_common_args": "'"}, "ansible_ssh_common_args"),
    ({"ansible_become_method": "runas"}, "runas"),
    ({"ansible_become": "maybe"}, "maybe"),
    ({"ansible_become_flags": "-i"}, "ansible_become_flags"),
    *(({"ultraplan_bandwidth": text}, "ultraplan_bandwidth: .* is no number of bytes a second")
      for text in ("0", "0MB", "-1", "10 MB", "1.5MB", "fast", "10mB", True)),
]


@pytest.mark.parametrize(("variables", "said"), BAD)
def test_what_cannot_be_used_is_named(variables: dict[str, object], said: str) -> None:
    with pytest.raises(TransportError, match=said) as caught:
        Target.of("h", variables)
    assert caught.value.host == "h"


def test_a_host_has_one_connection() -> None:
    connect = connector({"a": Target("a", local=True), "b": Target("b", address="b")})
    assert connect("a") is connect("a") is not connect("b")
    with pytest.raises(TransportError, match="there is no host c"):
        connect("c")


def test_paramiko_is_imported_only_for_ssh() -> None:
    code = ("import sys; from ultraplan.transport.target import Target, connector\n"
            "connector({'a': Target('a', local=True)})('a').shell().run(':')\n"
            "assert 'paramiko' not in sys.modules and 'fabric' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
