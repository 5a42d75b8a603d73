"""Sources of which the first that knows anything counts: ``registry.yaml|compose.yaml|env:APP_|scan:127.0.0.1:80``."""

from __future__ import annotations

from ultraplan.inventory.paths import alternatives, is_place
from ultraplan.inventory.sources.base import Opened, Reading, read_with
from ultraplan.language.errors import Diagnostic, Position, SourceError


class Alternatives:
    """Text with a ``|`` that is no file's name: sources to be tried in the order given.

    One that is not there, or names no host, is passed over; one with a mistake in it is not: a registry that cannot be
    read is not the same as none.
    """

    def claims(self, source: Opened) -> bool:
        """Whether it has several parts."""
        return len(alternatives(source.name)) > 1

    def read(self, source: Opened, into: Reading) -> None:
        """Read the parts until one names a host."""
        for name in alternatives(source.name):
            if is_place(name) and not Opened(name).there:
                continue
            named, mistakes = into.builder.named, len(into.problems)
            read_with(into, name)
            if into.builder.named > named or len(into.problems) > mistakes:
                return
        raise SourceError([Diagnostic("no-host", "none of these sources names a host", Position(source.name, 1, 1))])
