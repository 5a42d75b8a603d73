"""What expressions see: inputs, vars, host, groups, facts, steps, run, item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ultraplan.engine.operations import Result
from ultraplan.graph.model import Graph, Node
from ultraplan.inventory.model import Host
from ultraplan.inventory.variables import Lazy, World
from ultraplan.language.expressions import Variables


class Scope:
    """Makes the names for a node on a host. ``results`` and ``facts_set`` grow while the run goes on.

    ``facts_of`` asks a host for its built-in facts, when an expression wants one.
    """

    def __init__(self, graph: Graph, run: Mapping[str, Any], facts_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._graph = graph
        self._run = dict(run)
        self._facts_of = facts_of
        self.world = World(graph.inventory)
        self.results: dict[tuple[str, str], Result] = {}
        self.facts_set: dict[str, dict[str, Any]] = {}

    def names(self, node: Node, host: Host) -> dict[str, Any]:
        """The names that the expressions of ``node`` see on ``host``."""
        own = self.world[host.name]
        names: dict[str, Any] = {
            "inputs": node.inputs,
            "host": {"name": host.name, "address": own.address, "groups": list(host.groups), "vars": own},
            "groups": self.world.groups,
            "facts": Lazy(self._facts_keys(host.name), lambda name: self._fact(host.name, name)),
            "steps": Lazy(self._step_names(node), lambda name: self._step(node, host.name, name)),
            "run": self._run,
        }
        if node.loops:
            names["item"], names["index"] = node.item, node.index
        names["vars"] = Variables([node.vars, node.step.vars], names, inventory=host.vars, magic=own.magic)
        return names

    def _facts_keys(self, host: str) -> Callable[[], list[str]]:
        return lambda: [*self._facts_of(host), *self.facts_set.get(host, {})]

    def _fact(self, host: str, name: str) -> Any:
        mine = self.facts_set.get(host, {})
        return mine[name] if name in mine else self._facts_of(host)[name]

    def _step_names(self, node: Node) -> Callable[[], list[str]]:
        prefix = node.prefix
        return lambda: [name.removeprefix(prefix) for name in (*self._graph.aliases, *self._graph.nodes)
                        if name.startswith(prefix)]

    def _step(self, node: Node, host: str, name: str) -> Mapping[str, Any]:
        full = node.prefix + name
        if full in self._graph.nodes:
            return self._result(full, host).view()
        ids = self._graph.aliases[full]
        return Lazy(lambda: ["results", "changed", "failed", "status", "outputs"],
                     lambda what: self._together([self._result(one, host) for one in ids], what))

    def _result(self, node: str, host: str) -> Result:
        """The node's result on this host, or on the one host that it ran on."""
        found = self.results.get((node, host))
        if found is None:
            hosts = self._graph.nodes[node].hosts
            found = self.results.get((node, hosts[0])) if len(hosts) == 1 else None
        return found if found is not None else Result("skipped", False, {})

    def _together(self, results: list[Result], what: str) -> Any:
        views = [result.view() for result in results]
        match what:
            case "results":
                return views
            case "changed":
                return any(bool(view["changed"]) for view in views)
            case "failed":
                return any(bool(view["failed"]) for view in views)
            case "status":
                order = ["failed", "changed", "unchanged", "skipped"]
                return min((str(view["status"]) for view in views), key=order.index, default="skipped")
            case "outputs":
                return views[-1]["outputs"] if views else {}
            case _:
                raise KeyError(what)
