"""From what waits for what to nodes in order: circles found, vertices that are no nodes bridged."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence

from ultraplan.graph.units import Unit, Vertices
from ultraplan.language.errors import Diagnostic, Position


def circles(vertices: Vertices) -> Iterator[Diagnostic]:
    """One diagnostic for each knot of steps that wait for each other, with a way around it."""
    if sum(1 for _ in _topological(vertices.waits)) == len(vertices.waits):
        return
    import networkx as nx  # a third of the time that `validate` takes, and seldom needed

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_edges_from((vertex, before) for vertex, waits in enumerate(vertices.waits) for before in waits)
    for knot in nx.strongly_connected_components(graph):
        start = min(knot)
        if len(knot) > 1 or graph.has_edge(start, start):
            yield _circle([edge[0] for edge in nx.find_cycle(graph.subgraph(knot))], vertices.units)


def _circle(found: Sequence[int], units: Sequence[Unit | None]) -> Diagnostic:
    """A block or include shows once, however many of its vertices the circle meets in a row."""
    steps: list[Unit] = []
    for vertex in found:
        unit = units[vertex]
        if unit is not None and (not steps or steps[-1] is not unit):
            steps.append(unit)
    if len(steps) > 1 and steps[0] is steps[-1]:
        steps.pop()
    first = min(range(len(steps)), key=lambda at: steps[at].index)
    steps = [*steps[first:], *steps[:first]]
    origin = steps[0].step.origin
    at = _reason(steps[0], steps[1 % len(steps)])
    path = " waits for ".join([*(unit.place for unit in steps), steps[0].id])
    return Diagnostic("cycle", f"these steps wait for each other: {path}", at, origin.line(at),
                      "remove one of the `needs`, or the use of a result, that closes the circle")


def _reason(unit: Unit, other: Unit) -> Position:
    """Where the text says that ``unit`` waits for ``other``: a use of its result, its ``needs``, or its place."""
    for use in unit.uses:
        if use.path[0] == "steps" and len(use.path) > 1 and unit.scope.units.get(use.path[1]) is other:
            return use.position()
    return unit.step.origin.at("needs", key=True) if unit.step.needs is not None else unit.step.origin.at()


def bridged(vertices: Vertices, kept: Collection[int]) -> dict[int, tuple[int, ...]]:
    """For each vertex of ``kept``: those of them that it waits for directly, where all others are only passed through.

    Near-linear, unless many steps side by side follow many others. The vertices must have no circle.
    """
    reached: dict[int, tuple[int, ...]] = {}
    found: dict[int, tuple[int, ...]] = {}
    for vertex in _topological(vertices.waits):
        before: dict[int, None] = {}
        for one in vertices.waits[vertex]:
            before.update(dict.fromkeys(reached[one]))
        if vertex in kept:
            found[vertex] = tuple(sorted(before))
            reached[vertex] = (vertex,)
        else:
            reached[vertex] = tuple(before)
    return found


def in_order(needs: dict[int, tuple[int, ...]]) -> list[int]:
    """The vertices of ``needs`` in a topological order that keeps to their numbers (the text's order) where it can."""
    left = {vertex: len(many) for vertex, many in needs.items()}
    after: dict[int, list[int]] = {vertex: [] for vertex in needs}
    for vertex, many in needs.items():
        for before in many:
            after[before].append(vertex)
    ready = [vertex for vertex, count in left.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        vertex = heapq.heappop(ready)
        order.append(vertex)
        for one in after[vertex]:
            left[one] -= 1
            if left[one] == 0:
                heapq.heappush(ready, one)
    return order


def _topological(waits: Sequence[dict[int, None]]) -> Iterator[int]:
    left = [len(one) for one in waits]
    after: list[list[int]] = [[] for _ in waits]
    for vertex, before in enumerate(waits):
        for one in before:
            after[one].append(vertex)
    ready = [vertex for vertex, count in enumerate(left) if count == 0]
    while ready:
        vertex = ready.pop()
        yield vertex
        for one in after[vertex]:
            left[one] -= 1
            if left[one] == 0:
                ready.append(one)
