"""Real SSH hosts on one machine, for tests: see docs/how-to/lab.md."""

from tests.lab.client import Lab, why_unavailable
from tests.lab.spec import PASSWORD, Host, Kind, LabError, Options

__all__ = ["PASSWORD", "Host", "Kind", "Lab", "LabError", "Options", "why_unavailable"]
