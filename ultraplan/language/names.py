"""Which names an expression uses, read from its syntax tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jinja2 import nodes

from ultraplan.language.examining import Reference

GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner"})
"""Functions that every expression has."""


def free_names(tree: nodes.Node) -> frozenset[Reference]:
    """The dotted paths that ``tree`` uses of names it does not bind itself; a path ends where a subscript varies."""
    return frozenset(_visit(tree, set()))


def asked_names(every: Iterable[nodes.Node]) -> frozenset[Reference]:
    """The dotted paths whose absence a tree, whose nodes are ``every``, provides for: by `default`, `is defined` or
    `is undefined`."""
    found: set[Reference] = set()
    for one in every:
        asks = isinstance(one, nodes.Test) and one.name in ("defined", "undefined")
        if asks or (isinstance(one, nodes.Filter) and one.name in ("default", "d")):
            found |= free_names(one.node)  # type: ignore[attr-defined]
    return frozenset(found)


def _visit(node: nodes.Node, bound: set[str]) -> Iterator[Reference]:
    """The references in ``node``; names that it binds for what follows it are added to ``bound``."""
    match node:
        case nodes.Name() | nodes.Getattr() | nodes.Getitem():
            yield from _path(node, bound)
        case nodes.Call(node=nodes.Getattr() as method):
            yield from _path(method.node, bound)
            yield from _all((*node.args, *node.kwargs, *filter(None, (node.dyn_args, node.dyn_kwargs))), bound)
        case nodes.For():
            yield from _visit(node.iter, bound)
            inner = bound | _targets(node.target) | {"loop"}
            if node.test is not None:
                yield from _visit(node.test, inner)
            yield from _all(node.body, inner)
            yield from _all(node.else_, set(bound))
        case nodes.Macro():
            bound.add(node.name)
            yield from _callable(node, bound)
        case nodes.CallBlock():
            yield from _visit(node.call, bound)
            yield from _callable(node, bound)
        case nodes.With():
            yield from _all(node.values, bound)
            yield from _all(node.body, bound.union(*map(_targets, node.targets)))
        case nodes.Assign():
            yield from _visit(node.node, bound)
            bound |= _targets(node.target)
        case nodes.AssignBlock():
            if node.filter is not None:
                yield from _visit(node.filter, bound)
            yield from _all(node.body, set(bound))
            bound |= _targets(node.target)
        case nodes.FilterBlock():
            yield from _visit(node.filter, bound)
            yield from _all(node.body, set(bound))
        case _:
            yield from _all(node.iter_child_nodes(), bound)


def _all(many: Iterable[nodes.Node], bound: set[str]) -> Iterator[Reference]:
    for node in many:
        yield from _visit(node, bound)


def _callable(node: nodes.Macro | nodes.CallBlock, bound: set[str]) -> Iterator[Reference]:
    yield from _all(node.defaults, bound)
    yield from _all(node.body, bound | {one.name for one in node.args} | {"varargs", "kwargs", "caller"})


def _targets(node: nodes.Node) -> set[str]:
    if isinstance(node, nodes.Name):
        return {node.name}
    return {name.name for name in node.find_all(nodes.Name)}


def _path(node: nodes.Node, bound: set[str]) -> Iterator[Reference]:
    parts: list[str] = []
    while True:
        match node:
            case nodes.Getattr():
                parts.append(node.attr)
                node = node.node
            case nodes.Getitem(arg=nodes.Const(value=str() | int() as key)):
                parts.append(str(key))
                node = node.node
            case nodes.Getitem():
                yield from _visit(node.arg, bound)
                parts.clear()
                node = node.node
            case nodes.Name():
                if node.name not in bound and not (node.name in GLOBALS and not parts):
                    yield (node.name, *reversed(parts))
                return
            case _:
                yield from _visit(node, bound)
                return
