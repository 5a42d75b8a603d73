"""The yardstick: a script with one persistent ``sh`` a host, and nothing else. No journal, no way back, no checks but
exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

from benchmarks.tools.base import Phase, Tool

REPOSITORY = Path(__file__).parents[2]


class Raw(Tool):
    """A trip for each step."""

    name = "raw"
    label = "raw sh, a trip a step"
    ahead: ClassVar[bool] = False

    def prepare(self) -> None:
        site, work = self.site, self.site.work
        (site.folder / "wanted.json").write_text(json.dumps({
            "addresses": [site.address(host) for host in site.hosts], "key": str(site.key),
            "known_hosts": str(site.known_hosts), "files": work.files}))

    def command(self, phase: Phase) -> list[str]:
        ahead = ["--ahead"] if self.ahead else []
        return [sys.executable, "-m", "benchmarks.tools.persistent", str(self.site.folder / "wanted.json"), phase,
                *ahead]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


class RawAhead(Raw):
    """All steps of a host are sent before the first answer is read."""

    name = "raw-ahead"
    label = "raw sh, sent ahead"
    ahead = True
