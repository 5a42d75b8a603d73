"""From documents to units and vertices: blocks, loops and includes taken apart, inheritance filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os.path import normpath
from pathlib import Path
from typing import Any

from ultraplan.graph import early
from ultraplan.graph.model import BlockRole, Node
from ultraplan.graph.units import Container, Inherited, PlanScope, Unit, Vertices, mistake
from ultraplan.graph.uses import guards_of
from ultraplan.inventory.patterns import PatternError, match
from ultraplan.inventory.variables import World
from ultraplan.language.document import Document, OnFailure, Origin, Step
from ultraplan.language.errors import Diagnostic, SourceError

Load = Callable[[str], Document]
"""Reads the plan file at a path, its mistakes among what it gives; raises OSError or `SourceError`."""

MAX_NODES = 200_000
"""More step instances than this are taken for a mistake (includes that multiply)."""

_ROLES = ("block", "rescue", "always")


class TooMany(Exception):
    """The plan has more than `MAX_NODES` step instances."""


class Expander:
    """Collects ``units``, ``vertices``, ``mistakes``. ``doubts``: names that mistakes in the inventory leave open."""

    def __init__(self, world: World, everyone: frozenset[str], load: Load, doubts: frozenset[str]) -> None:
        self.units: list[Unit] = []
        self.scopes: list[PlanScope] = []
        self.vertices = Vertices()
        self.mistakes: list[Diagnostic] = []
        self._world = world
        self._everyone = everyone
        self._load = load
        self._doubts = doubts
        self._loaded: dict[str, Document | None] = {}

    def plan(self, document: Document, inputs: Mapping[str, Any], hosts: tuple[str, ...]) -> None:
        """The plan itself."""
        self.mistakes.extend(document.mistakes)
        scope = PlanScope(document, "", inputs, None, None, document.doubts)
        start = Inherited(hosts=hosts, become=None, on_failure=OnFailure.ROLLBACK, environment={}, vars={},
                          var_origins={})
        self._file(scope, self._container(None, None), self._of_plan(document, start))

    def _of_plan(self, document: Document, around: Inherited) -> Inherited:
        origins = {name: document.origin.below("vars", name) for name in document.vars}
        return replace(
            around, vars={**document.vars, **around.vars}, var_origins={**origins, **around.var_origins},
            environment={**document.environment, **around.environment},
            become=document.become if document.become is not None else around.become)

    def _file(self, scope: PlanScope, container: Container, inherited: Inherited) -> None:
        self.scopes.append(scope)
        self._steps(scope.document.steps, scope, container, inherited)

    def _container(self, parent: Container | None, unit: Unit | None) -> Container:
        return Container(self.vertices.add(unit), self.vertices.add(unit), parent, unit)

    def _steps(self, steps: Sequence[Step], scope: PlanScope, container: Container, around: Inherited) -> None:
        above: Unit | None = None
        for step in steps:
            if len(self.vertices.units) > 4 * MAX_NODES:
                raise TooMany
            inherited = _of_step(step, scope, around)
            unit = Unit(scope.prefix + step.id, step, scope, container, len(self.units), inherited, above)
            self.units.append(unit)
            scope.units[step.id] = unit
            container.children.append(unit)
            match step.type:
                case "block":
                    self._block(unit)
                case "include":
                    self._include(unit)
                case _:
                    self._plain(unit)
            above = unit

    def _plain(self, unit: Unit) -> None:
        turns = self._turns(unit)
        if turns is None:
            unit.begin = unit.end = self._node(unit, unit.id, None)
            return
        unit.turns = turns
        inner = self._container(unit.container, unit)
        unit.begin, unit.end, before = inner.begin, inner.end, inner.begin
        first: Node | None = None
        for item, index in turns:
            vertex = self._node(unit, f"{unit.id}[{index}]", (item, index), first)
            first = first or self.vertices.nodes[vertex]
            self.vertices.wait(vertex, before)
            if unit.step.needs is None:
                before = vertex
            else:
                self.vertices.wait(inner.end, vertex)
        if unit.step.needs is None or not turns:
            self.vertices.wait(inner.end, before)

    def _node(self, unit: Unit, name: str, turn: tuple[Any, int] | None, like: Node | None = None) -> int:
        if len(self.vertices.nodes) >= MAX_NODES:
            raise TooMany
        vertex = self.vertices.add(unit)
        if like is None or turn is None:
            self.vertices.nodes[vertex] = _node(unit, name, turn)
        else:
            self.vertices.nodes[vertex] = replace(like, id=name, item=turn[0], index=turn[1])
        unit.nodes.append(vertex)
        return vertex

    def _block(self, unit: Unit) -> None:
        unit.begin, unit.end = self.vertices.add(unit), self.vertices.add(unit)
        before = unit.begin
        for role in _ROLES:
            if steps := unit.step.children.get(role):
                part = self._container(unit.container, unit)
                self.vertices.wait(part.begin, before)
                blocks = (*unit.inherited.blocks, BlockRole(unit.id, role))
                self._steps(steps, unit.scope, part, replace(unit.inherited, blocks=blocks))
                before = part.end
        self.vertices.wait(unit.end, before)

    def _include(self, unit: Unit) -> None:
        turns = self._turns(unit)
        inner = self._container(unit.container, unit)
        unit.begin, unit.end, before = inner.begin, inner.end, inner.begin
        params = unit.step.params if isinstance(unit.step.params, Mapping) else {"plan": unit.step.params}
        for turn in [None] if turns is None else turns:
            part = self._container(inner, unit)
            self.vertices.wait(part.begin, before)
            self._included(unit, params, turn, part)
            if not part.children:
                self.vertices.wait(part.end, part.begin)
            if unit.step.needs is None:
                before = part.end
            else:
                self.vertices.wait(inner.end, part.end)
        if unit.step.needs is None or turns == []:
            self.vertices.wait(inner.end, before)

    def _included(self, unit: Unit, params: Mapping[str, Any], turn: tuple[Any, int] | None, part: Container) -> None:
        from ultraplan.language.inputs import examine_inputs

        if not unit.hosts:
            return
        origin = unit.step.origin.below("include")
        around = unit.inherited
        try:
            name = str(early.value(
                params["plan"], unit, self._world, origin.below("plan"), "the included plan's name", turn=turn,
                doubts=self._doubts))
        except early.NotKnown as error:
            self.mistakes.extend(error.diagnostics)
            return
        document = self._document(unit, name)
        if document is None:
            return
        values: dict[str, Any] = {}
        for own, where in ((unit.step.vars, unit.step.origin), (params.get("vars") or {}, origin)):
            more, wrong = early.mapping(own, unit, self._world, where.below("vars"), "variable", turn, through=True,
                                        doubts=self._doubts)
            values |= more
            self.mistakes += wrong
        environment, wrong = early.mapping(
            around.environment, unit, self._world, unit.step.origin.below("environment"), "environment variable",
            turn, through=True, doubts=self._doubts)
        self.mistakes += wrong
        given, wrong = early.mapping(
            params.get("inputs") or {}, unit, self._world, origin.below("inputs"), "input", turn,
            doubts=self._doubts)
        self.mistakes += wrong
        inputs, wrong = examine_inputs(document, given)
        self.mistakes += [_at_include(one, document, origin) for one in wrong]
        prefix = f"{unit.id}/" if turn is None else f"{unit.id}[{turn[1]}]/"
        outer = _node(unit, prefix[:-1], turn)
        scope = PlanScope(document, prefix, inputs, outer, unit, document.doubts | unit.scope.doubts & {"vars"})
        blank = replace(around, vars=values, var_origins={}, environment=environment, when=(), guards=frozenset(),
                        hosts=self._narrowed(document, around.hosts))
        self._file(scope, part, self._of_plan(document, blank))

    def _document(self, unit: Unit, name: str) -> Document | None:
        including = unit.scope.document.path
        path = normpath(Path(including).parent / name)
        chain = [unit.scope.document]
        scope = unit.scope
        while scope.owner is not None:
            scope = scope.owner.scope
            chain.insert(0, scope.document)
        names = [normpath(document.path) for document in chain]
        origin = unit.step.origin
        if path in names:
            self.mistakes.append(mistake(
                "include-cycle", "the plan includes itself: " + " includes ".join([*names[names.index(path):], path]),
                origin, "include", "plan"))
            return None
        if path not in self._loaded:
            self._loaded[path] = None
            try:
                self._loaded[path] = document = self._load(path)
                self.mistakes.extend(document.mistakes)
            except SourceError as error:
                self.mistakes.extend(error.diagnostics)
            except OSError as error:
                self.mistakes.append(mistake(
                    "include-unreadable", f"the plan {name!r} cannot be read: {error.strerror or error}", origin,
                    "include", "plan", hint=f"looked for {path}; names are relative to the including file"))
        return self._loaded[path]

    def _narrowed(self, document: Document, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if document.hosts == "all":
            return hosts
        try:
            wanted = frozenset(match(self._world.inventory, document.hosts))
        except PatternError as error:
            if "groups" not in self._doubts:
                self.mistakes.append(mistake("hosts", error.message, document.origin, "hosts", hint=error.hint))
            return hosts
        if not wanted & self._everyone and "groups" not in self._doubts:
            self.mistakes.append(mistake(
                "hosts", f"none of the plan's hosts is in {document.hosts!r}", document.origin, "hosts",
                hint="an included plan runs on those hosts of the plan around it that its own `hosts` means"))
        return tuple(host for host in hosts if host in wanted)

    def _turns(self, unit: Unit) -> list[tuple[Any, int]] | None:
        loop = unit.step.loop
        if loop is None:
            return None
        unit.loops = True
        if not unit.hosts:  # --limit left none: there is nothing to have values of
            return []
        origin = unit.step.origin.below("loop")
        try:
            bare = isinstance(loop, str) and "{{" not in loop
            items = early.value(loop, unit, self._world, origin, "a loop", bare=bare, doubts=self._doubts)
        except early.NotKnown as error:
            self.mistakes.extend(error.diagnostics)
            return []
        if not isinstance(items, list | tuple):
            hint = "write `… | dictsort`; each item is [key, value]" if isinstance(items, Mapping) else None
            self.mistakes.append(mistake("loop", f"the loop gives {_told(items)}, not a list", origin, hint=hint))
            return []
        return [(item, index) for index, item in enumerate(items)]


def _of_step(step: Step, scope: PlanScope, around: Inherited) -> Inherited:
    return replace(
        around,
        become=step.become if step.become is not None else around.become,
        # what the file says holds in all of it; where it leaves the default, the include may say otherwise
        on_failure=around.on_failure if step.on_failure is OnFailure.ROLLBACK else step.on_failure,
        environment={**around.environment, **step.environment} if step.environment else around.environment,
        vars={**around.vars, **step.vars} if step.vars else around.vars,
        var_origins={**around.var_origins, **{name: step.origin.below("vars", name) for name in step.vars}}
        if step.vars else around.var_origins,
        when=(*around.when, *step.when), guards=around.guards | guards_of(step.when),
        tags=around.tags | frozenset(step.tags) if step.tags else around.tags,
        no_log=around.no_log or step.no_log,
        # the first host of the plan, not of each batch: what happens once a run should not depend on `serial`
        run_once=around.run_once or step.run_once)


def _node(unit: Unit, name: str, turn: tuple[Any, int] | None) -> Node:
    inherited, step, scope = unit.inherited, unit.step, unit.scope
    item, index = turn if turn is not None else (None, None)
    undo = step.undo
    if undo is not None:
        undo = replace(undo, become=undo.become if undo.become is not None else inherited.become,
                       no_log=undo.no_log or inherited.no_log)
    filled = replace(step, become=inherited.become, on_failure=inherited.on_failure, no_log=inherited.no_log,
                     run_once=inherited.run_once, undo=undo, children={})
    return Node(
        id=name, step=filled, hosts=unit.hosts,
        inputs=scope.inputs, vars=inherited.vars, environment=inherited.environment, when=inherited.when,
        blocks=inherited.blocks, item=item, index=index, prefix=scope.prefix, document=scope.document,
        tags=inherited.tags, outer=scope.outer)


def _at_include(found: Diagnostic, document: Document, origin: Origin) -> Diagnostic:
    """What is wrong with the inputs of an included plan, told where they are given."""
    name = [name for name, declared in document.inputs.items() if declared.origin.at(key=True) == found.at]
    at = origin.at("inputs", *name)
    hint = "give it under `inputs` of the include" if found.code == "missing-input" else found.hint
    return replace(found, at=at, line=origin.line(at), hint=hint)


def _told(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, Mapping) else "true or false" if isinstance(value, bool) else "a number"
