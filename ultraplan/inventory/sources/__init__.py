"""Where inventories come from: one module per kind of source.

A source is text: an inline host list (``h1,h2,``), a directory of sources, an executable script, or a file in YAML or
INI. The kinds are tried in the order of `KINDS`; the first that claims the text reads it, and its mistakes count.
"""

from ultraplan.inventory.sources import directory, host_list, ini_file, script, yaml_file
from ultraplan.inventory.sources.base import Kind, Reading, read_with

KINDS: tuple[Kind, ...] = (host_list.HostList(), directory.Directory(), script.Script(), yaml_file.YamlFile(),
                           ini_file.IniFile())

__all__ = ["KINDS", "Kind", "Reading", "read_with"]
