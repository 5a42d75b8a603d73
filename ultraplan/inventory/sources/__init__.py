"""Where inventories come from: one module per kind of source.

A source is text: an inline host list (``h1,h2,``), a directory of sources, an executable script, a file in YAML or INI,
a Compose file, ``env:PREFIX`` for environment variables, ``scan:NETWORK:PORTS`` for open ports, or several with
``|`` between them, of which the first that names a host counts. The kinds are tried in the order of `KINDS`; the first
that claims the text reads it, and its mistakes count.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ultraplan.inventory.sources.base import Kind, Opened, Reading, read_with


class _Lazy:
    """A kind whose module is imported when ``may`` says that a source may be of it."""

    def __init__(self, module: str, name: str, may: Callable[[Opened], bool] = lambda source: True) -> None:
        self._module, self._name, self._may = module, name, may

    @property
    def kind(self) -> Kind:
        found: Kind = getattr(import_module(f"{__name__}.{self._module}"), self._name)()
        return found

    def claims(self, source: Opened) -> bool:
        return self._may(source) and self.kind.claims(source)

    def read(self, source: Opened, into: Reading) -> None:
        self.kind.read(source, into)


KINDS: tuple[Kind, ...] = (
    _Lazy("alternatives", "Alternatives", lambda source: "|" in source.name),
    _Lazy("environment", "Environment", lambda source: source.name.startswith("env:")),
    _Lazy("scan", "Scan", lambda source: source.name.startswith("scan:")),
    _Lazy("host_list", "HostList", lambda source: "," in source.name),
    _Lazy("directory", "Directory"),
    _Lazy("script", "Script", lambda source: source.executable),
    _Lazy("compose", "Compose", lambda source: "compose" in source.path.name),
    _Lazy("yaml_file", "YamlFile"),
    _Lazy("ini_file", "IniFile"),
)

__all__ = ["KINDS", "Kind", "Reading", "read_with"]
