"""The tools that do the work, ours among them: one class each, all with the same few verbs."""

from __future__ import annotations

from benchmarks.tools.ansible import Ansible, Mitogen
from benchmarks.tools.base import PHASES, Phase, Site, Tool
from benchmarks.tools.ours import Ours, OursFree
from benchmarks.tools.pyinfra import Pyinfra
from benchmarks.tools.raw import Raw, RawAhead

TOOLS: dict[str, type[Tool]] = {
    tool.name: tool for tool in (Ours, OursFree, Raw, RawAhead, Pyinfra, Mitogen, Ansible)
}
"""By name, in the order of the tables."""

__all__ = ["PHASES", "TOOLS", "Ansible", "Mitogen", "Ours", "OursFree", "Phase", "Pyinfra", "Raw", "RawAhead", "Site",
           "Tool"]
