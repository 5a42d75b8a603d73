"""The names that operations have on hosts and in journals, and what is known of each that has run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def op_id(run: str, node: str, host: str) -> str:
    """The operation's name: stable over resumes, different for every run, node and host. 24 hexadecimal digits."""
    return hashlib.sha256("\0".join((run, node, host)).encode()).hexdigest()[:24]


def host_key(host: str) -> str:
    """The host's name as a file name on the host: 16 hexadecimal digits."""
    return hashlib.sha256(host.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Result:
    """What later steps may use of an operation: ``steps.ID.status``, ``.changed``, ``.failed`` and ``.outputs``.

    ``status``: skipped, unchanged, changed or failed (an `ultraplan.language.expressions.Unknown` in a preview).
    """

    status: Any
    changed: Any
    outputs: Mapping[str, Any] | Any = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        """As expressions see it."""
        failed = self.status == "failed" if isinstance(self.status, str) else self.status
        return {"status": self.status, "changed": self.changed, "failed": failed, "outputs": self.outputs}
