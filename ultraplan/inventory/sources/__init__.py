"""Where inventories come from: one module per kind of source.

A source is text: an inline host list (``h1,h2,``), a directory of sources, an executable script, a file in YAML or INI,
a Compose file, ``env:PREFIX`` for environment variables, ``scan:NETWORK:PORTS`` for open ports, or several with
``|`` between them, of which the first that names a host counts. The kinds are tried in the order of `KINDS`; the first
that claims the text reads it, and its mistakes count.
"""

from ultraplan.inventory.sources import (
    alternatives,
    compose,
    directory,
    environment,
    host_list,
    ini_file,
    scan,
    script,
    yaml_file,
)
from ultraplan.inventory.sources.base import Kind, Reading, read_with

KINDS: tuple[Kind, ...] = (
    alternatives.Alternatives(), environment.Environment(), scan.Scan(), host_list.HostList(), directory.Directory(),
    script.Script(), compose.Compose(), yaml_file.YamlFile(), ini_file.IniFile())

__all__ = ["KINDS", "Kind", "Reading", "read_with"]
