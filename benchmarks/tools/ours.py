"""ultraplan, with everything on: journal, receipts, pre-images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

from benchmarks.tools.base import Phase, Site, Tool
from benchmarks.work import MODE, Work


class Ours(Tool):
    """The plan as one would write it: every step on all hosts before the next (``strategy: linear``)."""

    name = "ours"
    label = "ultraplan"
    strategy: ClassVar[str] = "linear"

    def prepare(self) -> None:
        self.site.inventory(interpreter=False)
        (self.site.folder / "plan.yaml").write_text(plan(self.site, self.site.work, self.strategy))

    def command(self, phase: Phase) -> list[str]:
        verb = ["plan"] if phase == "preview" else ["apply", "--yes"]
        return [str(Path(sys.executable).with_name("ultraplan")), *verb, "--state", str(self.site.folder / "state"),
                "--no-color", "-i", str(self.site.folder / "inventory.yaml"), str(self.site.folder / "plan.yaml")]


class OursFree(Ours):
    """No host waits for another."""

    name = "ours-free"
    label = "ultraplan, strategy: free"
    strategy = "free"


def plan(site: Site, work: Work, strategy: str) -> str:
    """The work as a plan; JSON is YAML."""
    steps: list[object] = []
    for number in work.numbers():
        steps.append({"id": f"file-{number}",
                      "file": {"path": work.path(number), "content": work.content(number), "mode": MODE}})
        steps.append({"id": f"copy-{number}", "command": {"argv": list(work.command(number))},
                      "undo": {"command": {"argv": ["rm", "-f", work.copy(number)]}}})
    return json.dumps({"plan": "bench", "description": "The benchmarks' work.", "hosts": "all", "strategy": strategy,
                       "steps": steps}, indent=1)
