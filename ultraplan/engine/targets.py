"""How inventory hosts are reached: their connection variables, templates in them filled in as Ansible does."""

from __future__ import annotations

import os.path
from dataclasses import replace

from ultraplan.inventory.variables import HostVars
from ultraplan.language.examining import ExpressionError
from ultraplan.transport.base import TransportError
from ultraplan.transport.target import Target

_PREFIXES = ("ansible_", "ultraplan_")
_FILES = frozenset({"IdentityFile", "UserKnownHostsFile", "GlobalKnownHostsFile"})
"""Options of ssh that name files of this machine."""


def target_of(host: HostVars) -> Target:
    """The target of ``host``. Its connection variables may be templates over its other variables, as in Ansible. Files
    of this machine that they name are below the folder of the inventory file that first names the host. Raises
    `TransportError`."""
    name, variables = host.host.name, {}
    for variable in host:
        if variable.startswith(_PREFIXES):
            try:
                variables[variable] = host[variable]
            except ExpressionError as error:
                what = error.reason.removeprefix(f"in vars.{variable}: ")
                raise TransportError(name, f"{variable}: {what}", error.hint or
                                     "the host's variables are what `ultraplan inventory list` shows") from None
    return _below(os.path.dirname(host.host.source), Target.of(name, variables))  # noqa: PTH120


def _below(folder: str, target: Target) -> Target:
    """``target`` with its relative file names below ``folder`` (where there is one)."""
    if not folder or not (target.config_file or _FILES.intersection(name for name, _ in target.options)):
        return target
    options = tuple((name, " ".join(_joined(folder, one) for one in _words(name, value)) if name in _FILES else value)
                    for name, value in target.options)
    return replace(target, options=options, config_file=target.config_file and _joined(folder, target.config_file))


def _words(option: str, value: str) -> list[str]:
    """The file names in an option's value; only lists of known_hosts files hold several."""
    return [value] if option == "IdentityFile" else value.split()


def _joined(folder: str, name: str) -> str:
    # ~ is a home, % begins a token of ssh, and "none" means no file
    return name if name.startswith(("~", "%")) or name == "none" else os.path.join(folder, name)  # noqa: PTH118
