"""Inventory sources to an `Inventory`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ultraplan.inventory.model import Inventory
from ultraplan.inventory.paths import alternatives, exists, expanded, is_folder, is_place

SCRIPT_SECONDS = 60.0
"""How long an inventory script may take for one answer, unless told otherwise."""


def load_inventory(sources: Sequence[str | Path], *, read_env: Mapping[str, str] = os.environ,
                   script_seconds: float = SCRIPT_SECONDS) -> Inventory:
    """The inventory that ``sources`` give together, read in the order given: files in YAML or INI, directories of
    sources, executable scripts, inline lists (``web1,web2,``), and those that find services (Compose files, ``env:``,
    ``scan:``); with the variables of the group_vars and host_vars directories beside them. Without any source it has
    only the implicit localhost.

    ``read_env`` is the environment of scripts and names the vault password file. Scripts are the only programs run.
    Secrets stay references (`ultraplan.secrets.marker`). Raises `SourceError` with every mistake in every source.
    """
    from ultraplan.inventory.builder import Builder, CycleError
    from ultraplan.inventory.problems import Problems
    from ultraplan.inventory.sources import KINDS, Reading, read_with
    from ultraplan.inventory.varfiles import VarFiles

    problems = Problems()
    reading = Reading(KINDS, Builder(), problems, read_env, script_seconds)
    names = [str(source) for source in sources]
    for name in names:
        read_with(reading, name)
    files = VarFiles([folder for name in names if (folder := _folder(name)) is not None], read_env, problems)
    try:
        inventory = reading.builder.build(files, reading.files)
    except CycleError as error:
        problems.add("group-cycle", str(error))
    problems.raise_any()
    return inventory


def _folder(source: str) -> Path | None:
    """The directory whose group_vars and host_vars belong to a source: a directory's own, a file's parent."""
    source = next((one for one in alternatives(source) if is_place(one) and exists(expanded(one))), source)
    if not is_place(source):
        return None
    path = expanded(source)
    return path if is_folder(path) else path.parent
