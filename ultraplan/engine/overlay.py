"""What earlier steps of the same plan would change, so that later predictions do not promise too much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 3
"""Steps that a doubt names; of more it says how many."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """The earlier steps that may change what was observed: the first few, and how many there are."""

    some: tuple[str, ...] = ()
    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        more = self.count - len(self.some)
        return ", ".join(self.some) + (f" and {more} more" if more else "")

    def without(self, node: str) -> Doubts:
        """The doubts that others than ``node`` give."""
        rest = tuple(name for name in self.some if name != node)
        return Doubts(rest, self.count - (len(self.some) - len(rest)))


@dataclass(frozen=True, slots=True)
class _Pending:
    """A change that an earlier node would make on a host. ``sure``: nothing that is known only later can prevent it."""

    number: int
    node: str
    kind: str
    resources: tuple[str, ...]
    after: Mapping[str, Any] | None
    sure: bool


@dataclass(slots=True)
class _Host:
    """The pending changes of one host, found by what they touch."""

    count: int = 0
    anywhere: list[_Pending] = field(default_factory=list)  # they can reach anything
    at: dict[str, list[_Pending]] = field(default_factory=lambda: defaultdict(list))     # a resource, or a path's name
    trees: dict[str, list[_Pending]] = field(default_factory=lambda: defaultdict(list))  # a whole tree, by its root
    below: dict[str, list[_Pending]] = field(default_factory=lambda: defaultdict(list))  # folder -> touches inside
    last: dict[tuple[str, str], _Pending] = field(default_factory=dict)  # (step type, resource) -> the latest


class Overlay:
    """Grows in the graph's order while the predictions are made.

    Resources are as in `ultraplan.steps.base.StepType.resources`: a tree (``tree:/srv``) holds each path below it.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = defaultdict(_Host)

    def anything(self, node: str, host: str) -> None:
        """``node`` would (or may) run something that can reach anything on ``host``."""
        here = self._hosts[host]
        here.count += 1
        here.anywhere.append(_Pending(here.count, node, "", (), None, sure=False))

    def change(self, node: str, host: str, kind: str, resources: tuple[str, ...], touches: Iterable[str],
               after: Mapping[str, Any] | None, *, sure: bool) -> None:
        """``node``, a step of type ``kind`` about ``resources``, would change ``touches`` on ``host``, and leave
        ``after`` (None: not known)."""
        here = self._hosts[host]
        here.count += 1
        pending = _Pending(here.count, node, kind, resources, after, sure)
        if after is not None:
            here.last.update(((kind, resource), pending) for resource in resources)
        for resource in touches:
            sort, name = _parted(resource)
            here.at[name].append(pending)
            if sort == "tree":
                here.trees[name].append(pending)
            if sort:
                for folder in _above(name):
                    here.below[folder].append(pending)

    def expected(self, host: str, kind: str, touched: tuple[str, ...]) -> tuple[Mapping[str, Any], str] | None:
        """The facts that the last earlier step of the same type leaves, and that step; None where there is none."""
        last = self._hosts[host].last
        found = next((last[kind, resource] for resource in touched if (kind, resource) in last), None)
        if found is None or found.after is None or not set(touched) <= set(found.resources):
            return None
        return found.after, found.node

    def doubts(self, host: str, touched: tuple[str, ...]) -> Doubts:
        """The earlier nodes that may change what was observed of ``touched`` on ``host``."""
        here = self._hosts[host]
        special = {one.number: one.node for resource in touched for one in self._meeting(here, resource)}
        first = [*((one.number, one.node) for one in here.anywhere[:SHOWN]), *special.items()]
        return Doubts(tuple(node for _, node in sorted(first)[:SHOWN]), len(here.anywhere) + len(special))

    def maker(self, host: str, folder: str) -> tuple[str, bool] | None:
        """An earlier node that may make ``folder`` (a path), or something in it, and whether it surely does; None where
        no step that says what it touches does."""
        here = self._hosts[host]
        found = [*self._meeting(here, f"path:{folder}"), *here.below.get(folder, ())]
        return max(((one.node, one.sure) for one in found), key=lambda one: one[1], default=None)

    @staticmethod
    def _meeting(here: _Host, resource: str) -> Iterator[_Pending]:
        sort, name = _parted(resource)
        yield from here.at.get(name, ())
        if sort:
            for folder in _above(name):
                yield from here.trees.get(folder, ())
        if sort == "tree":
            yield from here.below.get(name, ())


def _parted(resource: str) -> tuple[str, str]:
    """``path`` or ``tree`` and the path, or nothing and the resource as it is."""
    sort, _, name = resource.partition(":")
    return (sort, name) if sort in ("path", "tree") else ("", resource)


def _above(path: str) -> Iterator[str]:
    """The folders that ``path`` is in, the root last."""
    while path not in ("", "/"):
        path = path.rpartition("/")[0] or "/"
        yield path
