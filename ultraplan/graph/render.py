"""A graph for people and for other programs: text, DOT, Mermaid."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from ultraplan.graph.check import StepKind
from ultraplan.graph.model import Graph, Node

WayBackOf = Callable[[Node], str]
"""How a node is undone, in a word or two."""

_MARKS = {"reversible": "↺", "declared": "↺", "read-only": "·", "irreversible": "✗"}
_COLOURS = {"read-only": "gray50", "irreversible": "red3"}


def ways_back(step_types: Mapping[str, StepKind]) -> WayBackOf:
    """How nodes are undone: by what the plan says, else by what their step types say."""

    def of(node: Node) -> str:
        kind = step_types.get(node.step.type)
        params = node.step.params if isinstance(node.step.params, Mapping) else {}
        return declared_way_back(node) or (str(kind.way_back_of(params)) if kind is not None else "")

    return of


def declared_way_back(node: Node) -> str:
    """What the plan itself says of a node's way back: ``irreversible``, ``read-only``, ``declared`` or nothing."""
    if node.step.irreversible is not None:
        return "irreversible"
    if node.step.reads_only:
        return "read-only"
    return "declared" if node.step.undo is not None else ""


def to_text(graph: Graph, way_back: WayBackOf = declared_way_back) -> str:
    """A line for each node, in order, with what it waits for where that is not simply the line above."""
    hosts, cut = len(graph.hosts), len(graph.batches)
    head = f"{graph.document.name}: {_count(len(graph.nodes), 'step')} on {_count(hosts, 'host')}"
    rows = [head + (f" in {cut} batches ({', '.join(str(len(batch)) for batch in graph.batches)})" if cut > 1 else "")]
    names = {node.id: f"{'  ' * (len(node.blocks) + node.prefix.count('/'))}{node.id}" for node in graph.nodes.values()}
    width = max((len(name) for name in names.values()), default=0)
    kinds = max((len(node.step.type) for node in graph.nodes.values()), default=0)
    above: str | None = None
    opened: tuple[tuple[str, str], ...] = ()
    for node in graph.nodes.values():
        blocks = tuple((around.block, around.role) for around in node.blocks)
        for depth, (block, role) in enumerate(blocks):
            if opened[:depth + 1] != blocks[:depth + 1]:
                rows.append(f"    {'  ' * (depth + node.prefix.count('/'))}{role} of {block}")
        opened = blocks
        mark = _MARKS.get(way_back(node), " ")
        notes = list(_notes(node, graph, above, way_back))
        rows.append(f"  {mark} {names[node.id]:<{width}}  {node.step.type:<{kinds}}  {'; '.join(notes)}".rstrip())
        above = node.id
    rows.append("↺ can be undone  · changes nothing  ✗ cannot be undone")
    return "\n".join(rows) + "\n"


def _notes(node: Node, graph: Graph, above: str | None, way_back: WayBackOf) -> Iterator[str]:
    if not node.needs and above is not None:
        yield "waits for nothing"
    elif node.needs and node.needs != (above,):
        yield "after " + _some(node.needs)
    if node.reads:
        yield "uses " + _some(tuple(sorted(node.reads)))
    if node.step.run_once:
        yield f"once, on {node.hosts[0]}"
    elif node.hosts != graph.hosts:
        yield f"on {len(node.hosts)} of {_count(len(graph.hosts), 'host')}"
    conditions = list(node.when)
    outer = node.outer
    while outer is not None:
        conditions = [*outer.when, *conditions]
        outer = outer.outer
    if conditions:
        yield "when " + " and ".join(" ".join(one.split()) for one in conditions)
    if way_back(node) == "irreversible":
        yield f"no way back: {' '.join((node.step.irreversible or '').split())}"


def to_dot(graph: Graph, way_back: WayBackOf = declared_way_back) -> str:
    """The graph in Graphviz's language (https://graphviz.org/doc/info/lang.html); blocks are clusters."""
    rows = [f"digraph {_dot(graph.document.name)} {{", "  rankdir=TB;", '  node [shape=box, fontname="sans-serif"];']
    rows += _clustered(graph, lambda node: f"{_dot(node.id)} [label={_dot(_label(node, graph, chr(10)))}"
                       f"{_dot_style(way_back(node))}];", _dot_cluster, "  }")
    for node in graph.nodes.values():
        for need in node.needs:
            style = " [style=bold]" if need in node.reads else ""
            rows.append(f"  {_dot(need)} -> {_dot(node.id)}{style};")
    return "\n".join([*rows, "}"]) + "\n"


def to_mermaid(graph: Graph, way_back: WayBackOf = declared_way_back) -> str:
    """The graph as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html); blocks are subgraphs."""
    key = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    rows = ["flowchart TD"]
    rows += _clustered(graph, lambda node: f'{key[node.id]}["{_mermaid(_label(node, graph, chr(10)))}"]',
                       lambda number, title: f'  subgraph b{number} ["{_mermaid(title)}"]', "  end")
    for node in graph.nodes.values():
        for need in node.needs:
            rows.append(f"  {key[need]} {'==>' if need in node.reads else '-->'} {key[node.id]}")
    for word, style in (("irreversible", "stroke:#c00,stroke-width:3px"), ("read-only", "stroke-dasharray:4")):
        marked = [key[node.id] for node in graph.nodes.values() if way_back(node) == word]
        if marked:
            name = word.replace("-", "")
            rows += [f"  classDef {name} {style}", f"  class {','.join(marked)} {name}"]
    return "\n".join(rows) + "\n"


def _clustered(
    graph: Graph, one: Callable[[Node], str], begin: Callable[[int, str], str], end: str,
) -> list[str]:
    """A line for each node, those of a block's part together, parts inside parts."""
    tree: dict[tuple[str, str] | str, object] = {}
    for node in graph.nodes.values():
        here = tree
        for around in node.blocks:
            here = here.setdefault((around.block, around.role), {})  # type: ignore[assignment]
        here[node.id] = node
    rows: list[str] = []
    count = 0

    def walk(level: dict[tuple[str, str] | str, object], indent: str) -> None:
        nonlocal count
        for key, value in level.items():
            if isinstance(value, Node):
                rows.append(f"{indent}  {one(value)}")
            elif isinstance(value, dict):
                count += 1
                rows.append(indent + begin(count, f"{key[1]} of {key[0]}"))
                walk(value, indent + "  ")
                rows.append(indent + end)

    walk(tree, "")
    return rows


def _label(node: Node, graph: Graph, newline: str) -> str:
    lines = [node.id, node.step.type]
    if node.step.run_once:
        lines.append(f"once, on {node.hosts[0]}")
    elif node.hosts != graph.hosts:
        lines.append(_count(len(node.hosts), "host"))
    return newline.join(lines)


def _dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _dot_style(way_back: str) -> str:
    return f", color={_COLOURS[way_back]}" if way_back in _COLOURS else ""


def _dot_cluster(number: int, title: str) -> str:
    return f"  subgraph cluster_{number} {{ label={_dot(title)};"


def _mermaid(text: str) -> str:
    """Text inside Mermaid's quotes: anything that it might read as syntax goes as a character code."""
    coded = re.sub(r"[^\w \n./:,()=+-]", lambda found: f"#{ord(found[0])};", text)
    return coded.replace("\n", "<br/>")


def _some(names: tuple[str, ...], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
