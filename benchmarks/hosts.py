"""The lab's hosts as benchmarks see them: emptied before a run, compared after it, and what they paid for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.runner import descendants
from benchmarks.work import MODE, ROOT, Work
from tests.lab import Lab

_AT_ONCE = 8


class WrongState(Exception):
    """A host is not in the state that the work asks for."""


class Hosts:
    """Some hosts of a lab, by name."""

    def __init__(self, lab: Lab, names: Sequence[str]) -> None:
        self.lab, self.names = lab, list(names)

    def empty(self) -> None:
        """As before a first run: an empty folder, and nothing that a tool remembers between runs."""
        script = (f"rm -rf {ROOT} /var/lib/ultraplan ~/.ansible ~/.ansible_async /tmp/pyinfra-* && mkdir -p {ROOT} && "
                  f"chmod 755 {ROOT}")
        self._each(lambda name: self.lab.sh(name, script))

    def check(self, work: Work) -> None:
        """Raises `WrongState` unless every host has exactly the files of ``work`` (content, mode, owner) and copies."""
        wanted: dict[str, tuple[str, str | None, int]] = {}
        for number in work.numbers():
            digest = hashlib.sha256(work.content(number).encode()).hexdigest()
            wanted[work.path(number)] = (digest, MODE, 0)
            wanted[work.copy(number)] = (digest, None, 0)

        def look(name: str) -> None:
            tree = self.lab.tree(name, [ROOT])
            found = {path: (entry.get("sha256"), None if wanted.get(path, ("", ""))[1] is None else entry.get("mode"),
                            entry["uid"]) for path, entry in tree.items() if path != ROOT}
            if found != wanted:
                wrong = sorted(path for path in {*found, *wanted} if found.get(path) != wanted.get(path))
                raise WrongState(f"{name}: {', '.join(wrong[:5])} (and {max(0, len(wrong) - 5)} more)")

        self._each(look)

    def is_empty(self) -> None:
        """Raises `WrongState` where there is anything: a preview has changed something."""

        def look(name: str) -> None:
            if len(self.lab.tree(name, [ROOT])) != 1:
                raise WrongState(f"{name}: there is something below {ROOT}")

        self._each(look)

    def cpu(self) -> float:
        """Seconds of processor time that the hosts' processes have used so far, those that ended included."""
        tick, total = os.sysconf("SC_CLK_TCK"), 0
        pids = self.lab.pids()
        for name in self.names:
            for pid in (pids[name], *descendants(pids[name])):
                try:
                    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                total += sum(int(word) for word in words[11:15])  # its own, and those of its children that ended
        return total / tick

    def _each(self, action: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(action, self.names))
