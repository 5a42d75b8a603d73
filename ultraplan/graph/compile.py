"""The compiler: a document, an inventory and inputs become a `Graph`, or every static mistake at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ultraplan.graph.check import Names, StepKind
from ultraplan.graph.expand import MAX_NODES, Expander, Load, TooMany
from ultraplan.graph.files import Beside, FileUses
from ultraplan.graph.link import link
from ultraplan.graph.model import Graph
from ultraplan.graph.rings import rings
from ultraplan.graph.selection import batches, selected
from ultraplan.graph.units import Unit, Vertices, mistake
from ultraplan.graph.uses import Bare
from ultraplan.inventory.model import Host, Inventory
from ultraplan.inventory.patterns import PatternError, match
from ultraplan.inventory.references import references_in
from ultraplan.inventory.variables import World
from ultraplan.language.document import Document
from ultraplan.language.errors import Diagnostic, SourceError, did_you_mean, without_echoes
from ultraplan.language.salvage import ORDER

_OF_INVENTORY = frozenset({"vars", "host", "groups"})
"""The names that an inventory gives meaning to."""

_NOBODY = Inventory({"localhost": Host("localhost", ("all",), implicit=True)})
"""Stands for an inventory that cannot be read."""

_SPECIAL_TAGS = frozenset({"all", "tagged", "untagged", "always", "never"})


def compile_plan(
    document: Document, inventory: Inventory | None, inputs: Mapping[str, Any], *, step_types: Mapping[str, StepKind],
    load: Load, limit: str | None = None, tags: Collection[str] = (), skip_tags: Collection[str] = (),
    beside: Beside | None = None, mistakes: Iterable[Diagnostic] = (),
) -> Graph:
    """The graph of ``document`` on ``inventory`` with the resolved ``inputs``.

    ``load`` reads an included plan, given its path (the including file's folder and the name in the text, joined).
    ``limit``: a host pattern that narrows the plan's own. ``tags`` and ``skip_tags`` as Ansible has them. ``beside``
    reads the files that steps name, which are checked too where it is given.

    Raises `SourceError` with every static mistake; nothing is touched. ``mistakes``: those that were found before, in
    inputs or the inventory (None where they leave none); nothing is said that only follows from them.
    """
    doubts = _OF_INVENTORY if inventory is None else frozenset[str]()
    known = inventory if inventory is not None else _NOBODY
    everyone, hosts, wrong_hosts = _hosts(document, known, limit, doubts)
    if any(one.code == "hosts" for one in wrong_hosts) or "hosts" in document.doubts:
        doubts |= {"vars", "host"}
    world = World(known)
    expander = Expander(world, frozenset(everyone), load, doubts)
    try:
        expander.plan(document, inputs, hosts)
    except TooMany:
        raise SourceError([mistake("too-large", f"the plan has more than {MAX_NODES} steps", document.origin, "steps",
                                   hint="look for includes and loops that multiply")]) from None
    units, vertices = expander.units, expander.vertices
    used = {step.type for unit in units for step in (unit.step, unit.step.undo) if step is not None}
    bare: Bare = {name: (kind.raw_params, kind.shorthand)
                  for name in used if (kind := step_types.get(name)) is not None}
    names = Names(units, world, step_types, doubts)
    files = FileUses(beside, world, doubts) if beside is not None else None
    wrong = [*wrong_hosts, *link(units, expander.scopes, vertices, names, bare, files), *_unknown_tags(units, tags)]
    wrong += rings(units)
    if files is not None:
        wrong += files.mistakes
    from ultraplan.graph.order import bridged, circles, in_order

    unordered = any(ORDER in scope.doubts for scope in expander.scopes)
    round_ = [] if unordered else list(circles(vertices))
    if not round_:
        wrong += names.too_late(units, vertices)
    kept = {vertex for vertex, node in vertices.nodes.items()
            if node.hosts and selected(node.tags, tags, skip_tags)}
    wrong += _dropped(units, names, kept)
    best = ("too-late", "differs")  # they know more, where others speak of the same place
    found = without_echoes(mistakes, [one for one in expander.mistakes if one.code in best],
                           [one for one in expander.mistakes if one.code not in best], round_, wrong)
    if found or inventory is None:
        raise SourceError(found)
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


def _hosts(
    document: Document, inventory: Inventory, limit: str | None, doubts: frozenset[str],
) -> tuple[tuple[str, ...], tuple[str, ...], list[Diagnostic]]:
    """The plan's hosts, those of them that ``limit`` leaves, and what is wrong with the patterns. Where something is,
    they are some hosts of the inventory, for whatever else there is to be said."""
    if "groups" in doubts:
        return (*inventory.hosts,), (*inventory.hosts,), []
    wrong: list[Diagnostic] = []
    everyone: tuple[str, ...] = ()
    if "hosts" not in document.doubts:
        try:
            everyone = match(inventory, document.hosts)
            if not everyone:
                wrong.append(mistake("hosts", f"the pattern {document.hosts!r} means no host", document.origin, "hosts",
                                     hint="`ultraplan inventory list` shows what there is"))
        except PatternError as error:
            wrong.append(mistake("hosts", error.message, document.origin, "hosts", hint=error.hint))
    everyone = everyone or (*inventory.hosts,)
    if limit is None:
        return everyone, everyone, wrong
    hosts: tuple[str, ...] = ()
    try:
        hosts = match(inventory, document.hosts if not wrong else "all", limit)
        if not hosts and not wrong:
            some = ", ".join(everyone[:5]) + (", …" if len(everyone) > 5 else "")
            wrong.append(Diagnostic("limit", f"--limit {limit!r} leaves none of the plan's hosts",
                                    hint=f"they are {some}"))
    except PatternError as error:
        wrong.append(Diagnostic("limit", f"--limit: {error.message}", hint=error.hint))
    return everyone, hosts or everyone, wrong


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
