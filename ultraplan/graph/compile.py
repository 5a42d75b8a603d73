"""The compiler: a document, an inventory and inputs become a `Graph`, or every static mistake at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ultraplan.graph.check import Names, StepKind
from ultraplan.graph.expand import MAX_NODES, Expander, Load, TooMany
from ultraplan.graph.link import link
from ultraplan.graph.model import Graph
from ultraplan.graph.selection import batches, selected
from ultraplan.graph.units import Unit, Vertices, mistake
from ultraplan.graph.uses import Bare
from ultraplan.inventory.model import Inventory
from ultraplan.inventory.patterns import PatternError, match
from ultraplan.inventory.references import references_in
from ultraplan.language.document import Document
from ultraplan.language.errors import Diagnostic, SourceError, did_you_mean

_SPECIAL_TAGS = frozenset({"all", "tagged", "untagged", "always", "never"})


def compile_plan(
    document: Document, inventory: Inventory, inputs: Mapping[str, Any], *, step_types: Mapping[str, StepKind],
    load: Load, limit: str | None = None, tags: Collection[str] = (), skip_tags: Collection[str] = (),
) -> Graph:
    """The graph of ``document`` on ``inventory`` with the resolved ``inputs``.

    ``load`` reads an included plan, given its path (the including file's folder and the name in the text, joined).
    ``limit``: a host pattern that narrows the plan's own. ``tags`` and ``skip_tags`` as Ansible has them.
    Raises `SourceError` with every static mistake; nothing is touched.
    """
    everyone, hosts = _hosts(document, inventory, limit)
    expander = Expander(inventory, frozenset(everyone), load)
    try:
        expander.plan(document, inputs, hosts)
    except TooMany:
        raise SourceError([mistake("too-large", f"the plan has more than {MAX_NODES} steps", document.origin, "steps",
                                   hint="look for includes and loops that multiply")]) from None
    units, vertices = expander.units, expander.vertices
    bare: Bare = {name: (kind.raw_params, kind.shorthand) for name, kind in step_types.items()}
    names = Names(units, inventory, step_types)
    wrong = [*expander.mistakes, *link(units, expander.scopes, vertices, names, bare), *_unknown_tags(units, tags)]
    from ultraplan.graph.order import bridged, circles, in_order

    round_ = list(circles(vertices))
    if not round_:
        wrong += names.too_late(units, vertices)
    kept = {vertex for vertex, node in vertices.nodes.items()
            if node.hosts and selected(node.tags, tags, skip_tags)}
    wrong += _dropped(units, names, kept)
    if wrong or round_:
        best = ("too-late", "differs")  # they know more, where others speak of the same place
        late = {one.at for one in wrong if one.code in best}
        raise SourceError([*(one for one in wrong if one.at not in late or one.code in best), *round_])
    needs = bridged(vertices, kept)
    reads = _reads(units, names, kept)
    ids = {vertex: vertices.nodes[vertex].id for vertex in kept}
    nodes = {}
    for vertex in in_order(needs):
        unit = vertices.units[vertex]
        assert unit is not None  # noqa: S101 - every node's vertex has a unit
        read = reads[id(unit)] - {vertex}
        waits = sorted(read.union(needs[vertex])) if read else needs[vertex]
        nodes[ids[vertex]] = replace(vertices.nodes[vertex], needs=tuple(ids[one] for one in waits),
                                     reads=frozenset(ids[one] for one in read))
    return Graph(
        document=document, inventory=inventory, inputs=inputs, nodes=nodes, hosts=hosts,
        batches=batches(hosts, document.serial), aliases=_aliases(units, vertices, kept),
        strategy=document.strategy, max_fail_percentage=document.max_fail_percentage,
        max_unreachable_percentage=document.max_unreachable_percentage, rollback_scope=document.rollback_scope,
        references=references_in(inventory).union(*(scope.document.references for scope in expander.scopes)))


def _hosts(document: Document, inventory: Inventory, limit: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The plan's hosts, and those of them that ``limit`` leaves."""
    try:
        everyone = match(inventory, document.hosts)
    except PatternError as error:
        raise SourceError([mistake("hosts", error.message, document.origin, "hosts", hint=error.hint)]) from None
    if not everyone:
        raise SourceError([mistake("hosts", f"the pattern {document.hosts!r} means no host", document.origin, "hosts",
                                   hint="`ultraplan inventory list` shows what there is")])
    if limit is None:
        return everyone, everyone
    try:
        hosts = match(inventory, document.hosts, limit)
    except PatternError as error:
        raise SourceError([Diagnostic("limit", f"--limit: {error.message}", hint=error.hint)]) from None
    if not hosts:
        some = ", ".join(everyone[:5]) + (", …" if len(everyone) > 5 else "")
        raise SourceError([Diagnostic("limit", f"--limit {limit!r} leaves none of the plan's hosts",
                                      hint=f"they are {some}")])
    return everyone, hosts


def _unknown_tags(units: Iterable[Unit], tags: Collection[str]) -> Iterator[Diagnostic]:
    known = {tag for unit in units for tag in unit.inherited.tags} | _SPECIAL_TAGS
    for tag in tags:
        if tag not in known:
            yield Diagnostic("unknown-tag", f"--tags: no step has the tag {tag!r}", hint=did_you_mean(tag, known))


def _dropped(units: Iterable[Unit], names: Names, kept: Collection[int]) -> Iterator[Diagnostic]:
    """Steps that take part and use what steps give that do not."""
    inside = _inside(units)
    for unit in units:
        if not any(vertex in kept for vertex in inside[id(unit)]):
            continue
        for use in unit.uses:
            for target in names.before(use, unit):
                gone = inside[id(target)]
                if len(use.needed) > 1 and use.path[0] == "steps" and gone and not any(one in kept for one in gone):
                    yield Diagnostic(
                        "dropped-step", f"{unit.step.id!r} uses steps.{target.step.id}, which the tags leave out",
                        use.position(), use.origin.line(use.position()),
                        f"select both, or provide for it: steps.{target.step.id} is defined")


def _inside(units: Iterable[Unit]) -> dict[int, list[int]]:
    """The node vertices of each unit (by identity), those of the units in it included, in text order."""
    units = list(units)
    found: dict[int, list[int]] = {id(unit): [] for unit in units}
    for unit in units:
        for vertex in unit.nodes:
            found[id(unit)].append(vertex)
            for around in _around(unit):
                found[id(around)].append(vertex)
    return found


def _around(unit: Unit) -> Iterator[Unit]:
    """The blocks and includes around ``unit``, each once, innermost first."""
    last = None
    for container in unit.container.around():
        if container.unit is not None and container.unit is not last:
            last = container.unit
            yield last


def _reads(units: Iterable[Unit], names: Names, kept: Collection[int]) -> dict[int, frozenset[int]]:
    """For each unit (by identity): the kept node vertices whose outputs its texts, or those around it, use."""
    units = list(units)
    inside = _inside(units)
    found: dict[int, frozenset[int]] = {}
    for unit in units:  # what is around a unit comes before it
        own = {vertex for use in unit.uses for target in names.before(use, unit) for vertex in inside[id(target)]}
        around = next(_around(unit), None)
        outer = found[id(around)] if around is not None else frozenset[int]()
        found[id(unit)] = outer.union(one for one in own if one in kept)
    return found


def _aliases(units: Iterable[Unit], vertices: Vertices, kept: Collection[int]) -> dict[str, tuple[str, ...]]:
    units = list(units)
    inside = _inside(units)
    return {unit.id: tuple(vertices.nodes[vertex].id for vertex in inside[id(unit)] if vertex in kept)
            for unit in units if [vertices.nodes[one].id for one in inside[id(unit)] if one in kept] != [unit.id]}
