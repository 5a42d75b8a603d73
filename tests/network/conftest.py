from __future__ import annotations

from tests.acceptance.conftest import world

__all__ = ["world"]
