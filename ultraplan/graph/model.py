"""The compiled plan: step instances and what each waits for. Hosts stay implicit, so it is small at any fleet size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultraplan.inventory.model import Inventory
from ultraplan.language.document import Document, Scope, Step, Strategy

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class BlockRole:
    """A block around a node, and the part of it the node is in: ``block``, ``rescue`` or ``always``."""

    block: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A step instance. ``id`` is the declared id, prefixed by its includes (``inc/config``), with the loop item's index
    (``copy[0]``). ``needs``: the nodes it waits for directly. ``hosts``: where it runs (one host for run_once).

    ``inputs`` and ``vars`` are those of the plan file it comes from (blocks' and includes' vars merged in, unrendered).
    ``blocks``: the blocks around it, outermost first. ``when``: its own and its blocks' conditions. ``outer``: for a
    step of an included plan, the include as a node of the plan around it (it is in no graph, and runs nothing): its
    ``when``, and that of its own ``outer``, must hold as well, seen with the names of the plan that they stand in.
    ``reads``: the nodes whose outputs its expressions use (a part of ``needs``).
    ``step``: as written, with what it inherits (become, on_failure, no_log, run_once) filled in.
    """

    id: str
    step: Step
    hosts: tuple[str, ...]
    needs: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    when: tuple[str, ...] = ()
    blocks: tuple[BlockRole, ...] = ()
    item: Any = None
    index: int | None = None
    prefix: str = ""
    document: Document
    tags: frozenset[str] = frozenset()
    outer: Node | None = None

    @property
    def loops(self) -> bool:
        """Whether it is one turn of a loop."""
        return self.index is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A compiled plan. ``nodes`` in a topological order that keeps to the text where it can.

    ``hosts``: those of the plan after ``--limit``, in inventory order. ``batches``: the same hosts as ``serial`` cuts
    them. ``aliases``: from a declared (prefixed) id to the node ids it stands for (loops, blocks, includes).
    """

    document: Document
    inventory: Inventory
    inputs: Mapping[str, Any]
    nodes: Mapping[str, Node]
    hosts: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strategy: Strategy = Strategy.LINEAR
    max_fail_percentage: float = 0.0
    max_unreachable_percentage: float = 0.0
    rollback_scope: Scope = Scope.RUN
    references: frozenset[str] = frozenset()

    def dag(self) -> nx.DiGraph[str]:
        """The graph as networkx has it: an edge from what is waited for to what waits."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from((need, node.id) for node in self.nodes.values() for need in node.needs)
        return graph
