"""Whether the names that texts use exist, and which steps stand behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ultraplan.graph.inside import Inside
from ultraplan.graph.names import BUILTIN_FACTS, HOST, RESULT, RUN, TURNS
from ultraplan.graph.units import PlanScope, Unit, Vertices
from ultraplan.graph.uses import Use
from ultraplan.inventory.variables import World
from ultraplan.language.errors import Diagnostic, did_you_mean
from ultraplan.language.salvage import ORDER

_SOME = 3  # hosts that a message names


class StepKind(Protocol):
    """What compiling has to know of a step type (`ultraplan.steps.base.StepType` fits)."""

    @property
    def outputs_doc(self) -> Mapping[str, str]:
        """The outputs it has; ``*``: any."""

    @property
    def shorthand(self) -> str | None:
        """The parameter that a bare value stands for."""

    @property
    def raw_params(self) -> frozenset[str]:
        """The parameters that hold expressions without braces."""

    def way_back_of(self, raw: Mapping[str, Any]) -> str:
        """``reversible``, ``read-only`` or ``declared``."""

    @property
    def sets_facts(self) -> bool:
        """Whether its parameters' names become facts."""


class Names:
    """The names of one compilation. ``doubts``: those that mistakes in the inventory leave open."""

    def __init__(self, units: Iterable[Unit], world: World, kinds: Mapping[str, StepKind],
                 doubts: frozenset[str] = frozenset()) -> None:
        self._inventory = world.inventory
        self._inside = Inside(world)
        self._doubts = doubts
        self._kinds = kinds
        self._lacking: dict[tuple[str, int], tuple[str, ...]] = {}
        self._numbers: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._by_hosts: dict[tuple[str, ...], int] = {}
        self._var_names: dict[tuple[str, ...], frozenset[str]] = {}
        self.setters: dict[str, list[Unit]] = {}
        for unit in units:
            kind = kinds.get(unit.step.type)
            if kind is not None and kind.sets_facts and isinstance(unit.step.params, Mapping):
                for name in unit.step.params:
                    self.setters.setdefault(name, []).append(unit)

    def plan_wide(self, use: Use, scope: PlanScope) -> list[Diagnostic]:
        """What is wrong with a use in the environment of a whole plan."""
        top = use.path[0]
        if top in ("steps", "item", "index"):
            return [self._wrong(use, f"'{top}' has no meaning for a whole plan", "put it where a step stands")]
        unit = next(iter(scope.units.values()), None)
        found = self.check(use, unit) if unit is not None else None
        return [found] if found is not None else []

    def check(self, use: Use, unit: Unit) -> Diagnostic | None:
        """What is wrong with ``use`` in ``unit``, as far as earlier mistakes let that be known."""
        found = self._checked(use, unit)
        return None if found is None or self._doubtful(use, unit) else found

    def _doubtful(self, use: Use, unit: Unit) -> bool:
        doubts, top = unit.scope.doubts | self._doubts, use.path[0]
        if top == "steps":
            return len(use.path) > 1 and use.path[1] not in unit.scope.units and "steps" in doubts
        if top == "host":
            return top in doubts and use.path[1:2] == ("vars",)
        return top in doubts or (top == "facts" and "steps" in doubts)

    def _checked(self, use: Use, unit: Unit) -> Diagnostic | None:
        if use.path[0] == "steps" and len(use.path) > 1 and (found := self._own(use, unit)) is not None:
            return found
        path = use.needed
        if not path:
            return None
        top = path[0]
        if top in ("item", "index"):
            return None if unit.loops else self._wrong(
                use, f"'{top}' has a meaning only in a loop", "the step has no `loop`")
        if len(path) == 1:  # that there is such a name, and such an input, is known since the file was read
            return None
        name = path[1]
        match top:
            case "vars":
                return self._var(use, name, unit)
            case "host":
                return self._host(use, path, unit)
            case "groups":
                if name not in self._inventory.groups:
                    return self._wrong(use, f"the inventory has no group {name!r}",
                                       did_you_mean(name, self._inventory.groups))
            case "run":
                if name not in RUN:
                    return self._wrong(use, f"there is no run.{name}", _one_of(name, RUN, "run"))
            case "facts":
                if name not in BUILTIN_FACTS and name not in self.setters:
                    known = [*BUILTIN_FACTS, *self.setters]
                    return self._wrong(use, f"no step sets facts.{name}, and it is no built-in fact",
                                       did_you_mean(name, known) or f"built in: {', '.join(BUILTIN_FACTS)}")
            case "steps":
                return self._step(use, path, unit)
        return None

    def before(self, use: Use, unit: Unit) -> list[Unit]:
        """The units whose results ``use`` needs to be there."""
        if len(use.path) < 2:
            return []
        name = use.path[1]
        if use.path[0] == "steps":
            target = unit.scope.units.get(name)
            return [target] if target is not None and target is not unit else []
        if use.path[0] == "facts":
            return [setter for setter in self.setters.get(name, ()) if setter.index < unit.index]
        return []

    def too_late(self, units: Iterable[Unit], vertices: Vertices) -> list[Diagnostic]:
        """Uses of facts that no step sets before; known once the edges are."""
        found = []
        for unit in units:
            for use in unit.uses:
                if use.path[0] != "facts" or len(use.needed) < 2 or use.path[1] in BUILTIN_FACTS:
                    continue
                setters = self.setters.get(use.path[1], [])
                late = ORDER not in unit.scope.doubts and bool(setters) and not self.before(use, unit)
                if late and not any(vertices.waits_for(unit.begin, setter.end) for setter in setters):
                    others = [setter.place for setter in setters if setter is not unit]
                    where = f"only later, by {others[0]}" if others else "only by this step itself"
                    found.append(self._wrong(
                        use, f"facts.{use.path[1]} is set {where}",
                        "set it in an earlier step, or let this one wait with `needs`", "set-later"))
        return found

    def _own(self, use: Use, unit: Unit) -> Diagnostic | None:
        name = use.path[1]
        target = unit.scope.units.get(name)
        if target is unit and use.place == "undo":
            return self._wrong(use, f"the way back of {name!r} cannot use what {name!r} gives",
                               "it is fixed before the step runs; use what earlier steps or facts give", "own-outputs")
        if target is unit and use.place != "until":
            return self._wrong(use, f"{name!r} cannot use what it gives itself", "only its `until` can", "own-outputs")
        if target is not None and any(block is target for block in unit.blocks()):
            return self._wrong(use, f"{unit.step.id!r} stands in the block {name!r}, so it cannot use its result",
                               "use the results of the steps in it", "own-block")
        return None

    def _step(self, use: Use, path: tuple[str, ...], unit: Unit) -> Diagnostic | None:
        name = path[1]
        target = unit.scope.units.get(name)
        if target is None:
            return self._wrong(use, f"there is no step {name!r}", did_you_mean(name, unit.scope.units) or
                               "`steps.` names ids of steps of the same plan file", "unknown-step")
        if len(path) < 3:
            return None
        what = path[2]
        together = target.loops or target.step.type in ("block", "include")
        known = (*RESULT, TURNS) if together else RESULT
        if what not in known:
            outputs = self._outputs(target)
            hint = f"did you mean 'steps.{name}.outputs.{what}'?" if what in outputs else _one_of(what, known, name)
            return self._wrong(use, f"a step has no {what!r}: steps.{name}.{what}", hint)
        if what != "outputs" or len(path) < 4 or target.step.type in ("block", "include"):
            return None
        outputs = self._outputs(target)
        if path[3] in outputs or "*" in outputs:
            return None
        kind = target.step.type
        hint = did_you_mean(path[3], outputs) or (
            f"{kind} gives {', '.join(outputs)}" if outputs else f"{kind} gives no outputs")
        return self._wrong(use, f"{kind} has no output {path[3]!r}", hint, "unknown-output")

    def _outputs(self, unit: Unit) -> Mapping[str, str]:
        kind = self._kinds.get(unit.step.type)
        return kind.outputs_doc if kind is not None else {"*": ""}

    def _host(self, use: Use, path: tuple[str, ...], unit: Unit) -> Diagnostic | None:
        if path[1] not in HOST:
            hint = f"did you mean 'host.vars.{path[1]}'?" if any(
                path[1] in self._inventory.hosts[host].vars for host in unit.hosts[:1]) else None
            return self._wrong(use, f"there is no host.{path[1]}", hint or _one_of(path[1], HOST, "host"))
        if path[1] == "vars" and len(path) > 2:
            return self._on_hosts(use, "host.vars", path[2], unit, frozenset())
        return None

    def _var(self, use: Use, name: str, unit: Unit) -> Diagnostic | None:
        if name in unit.inherited.vars:
            return None
        return self._on_hosts(use, "vars", name, unit, frozenset(unit.inherited.vars))

    def _on_hosts(self, use: Use, space: str, name: str, unit: Unit, more: frozenset[str]) -> Diagnostic | None:
        hosts = unit.hosts
        key = (name, self._same(hosts))
        if key not in self._lacking:
            self._lacking[key] = tuple(host for host in hosts if name not in self._inventory.hosts[host].vars)
        lacking = self._lacking[key]
        if not lacking:
            return self._inside.check(use, space, name, hosts, key[1], unit)
        if len(lacking) == len(hosts):
            known = self._known_vars(hosts) | more
            hint = did_you_mean(name, known)
            if hint is None and name in unit.scope.document.inputs:
                hint = f"did you mean 'inputs.{name}'?"
            return self._wrong(use, f"{space}.{name} is not defined", hint or
                               "no host of the inventory has it" + (", nor the plan" if space == "vars" else ""))
        some = ", ".join(lacking[:_SOME]) + (f" and {len(lacking) - _SOME} more" if len(lacking) > _SOME else "")
        return self._wrong(use, f"{space}.{name} is not defined for {some}",
                           f"give it to all hosts, or provide for it: {space}.{name} | default(…)")

    def _same(self, hosts: tuple[str, ...]) -> int:
        """A number for ``hosts``: looking thousands of names up as a key takes longer than all the rest."""
        number, known = self._numbers.get(id(hosts), (-1, ()))
        if known is not hosts:
            number = self._by_hosts.setdefault(hosts, len(self._by_hosts))
            self._numbers[id(hosts)] = (number, hosts)
        return number

    def _known_vars(self, hosts: tuple[str, ...]) -> frozenset[str]:
        if hosts not in self._var_names:
            self._var_names[hosts] = frozenset().union(*(self._inventory.hosts[host].vars for host in hosts))
        return self._var_names[hosts]

    def _wrong(self, use: Use, message: str, hint: str | None, code: str = "unknown-name") -> Diagnostic:
        at = use.position()
        return Diagnostic(code, message, at, use.origin.line(at), hint)


def _one_of(name: str, known: Iterable[str], space: str) -> str:
    return did_you_mean(name, known) or f"{space} has {', '.join(known)}"
