"""Values that have to be known when a plan is compiled: loops, includes and what is handed to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ultraplan.graph.names import EVERYWHERE, LATE
from ultraplan.graph.units import Unit, mistake
from ultraplan.graph.uses import Use, text_uses
from ultraplan.inventory.model import Inventory
from ultraplan.language.document import Origin
from ultraplan.language.errors import Diagnostic
from ultraplan.language.unknown import MISTAKEN


class NotKnown(Exception):
    """The value is not known, or wrong; why."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__()
        self.diagnostics = diagnostics


def value(
    raw: Any, unit: Unit, inventory: Inventory, origin: Origin, what: str, *, turn: tuple[Any, int] | None = None,
    bare: bool = False, doubts: frozenset[str] = frozenset(),
) -> Any:
    """``raw`` rendered with the names that are known before any host is touched; raises `NotKnown`.

    Variables of the inventory count where all hosts of the unit have the same value. ``turn``: the loop's item and
    index. ``what``: the thing whose value it is, for messages. ``bare``: ``raw`` is an expression without braces.
    ``doubts``: names that mistakes leave open; of what needs them, nothing is said.
    """
    from ultraplan.language.expressions import ExpressionError, UnknownValue, Variables, evaluate, render

    shared: dict[str, Any] = {}
    doubts |= unit.scope.doubts
    late = list(_late(raw, unit, inventory, origin, what, shared, doubts, bare=bare))
    if late:
        raise NotKnown([one for one in late if one is not None])
    names: dict[str, Any] = {
        "inputs": unit.scope.inputs,
        "groups": {name: list(inventory.members(name)) for name in inventory.groups},
    }
    if turn is not None:
        names["item"], names["index"] = turn
    names["vars"] = Variables([shared, unit.inherited.vars], names)
    try:
        return evaluate(raw, names) if bare else render(raw, names)
    except ExpressionError as error:
        raise NotKnown([
            mistake("expression", f"{what}: {error.reason}", origin, *error.path, hint=error.hint)]) from None
    except UnknownValue as error:
        if error.mistaken:
            raise NotKnown([]) from None
        raise NotKnown([mistake("too-late", f"{what} is needed now, and is {error}", origin)]) from None


def _late(
    raw: Any, unit: Unit, inventory: Inventory, origin: Origin, what: str, shared: dict[str, Any],
    doubts: frozenset[str], *, bare: bool,
) -> Iterator[Diagnostic | None]:
    """The names in ``raw`` whose values come too late (None: something that is told elsewhere); ``shared`` gets the
    inventory's variables that it uses."""
    from ultraplan.language.expressions import check

    if check(raw, bare=bare):
        yield None
    seen: set[str] = set()
    todo: list[Use] = list(text_uses(raw, origin, "early", bare=bare))
    while todo:
        use = todo.pop()
        top = use.path[0]
        if top in LATE:
            yield _wrong(
                "too-late", use, f"{what} has to be known before any host is touched, and {'.'.join(use.path)} is"
                f" {LATE[top]}",
                "use inputs, groups, or vars that are the same on all hosts; what differs belongs in the steps")
        elif top == "groups" and top in doubts:
            yield None
        elif top == "vars" and len(use.path) > 1 and use.path[1] not in seen:
            name = use.path[1]
            seen.add(name)
            if name in unit.inherited.vars:
                at = unit.inherited.var_origins.get(name, use.origin)
                if check(unit.inherited.vars[name]):
                    yield None
                todo.extend(text_uses(unit.inherited.vars[name], at, "early"))
                continue
            values = {host: inventory.hosts[host].vars[name] for host in unit.hosts
                      if name in inventory.hosts[host].vars}
            if not values:
                if use.sure > 1 or top in doubts:  # reported with the other unknown names
                    yield None
                continue
            first, *others = values
            differs = next((host for host in others if values[host] != values[first]), None)
            missing = next((host for host in unit.hosts if host not in values), None)
            if differs is not None:
                yield _wrong("differs", use, f"{what} has to be the same on all hosts, and vars.{name} differs between"
                             f" {first} and {differs}", "give it as an input or a var of the plan")
            elif missing is not None:
                yield _wrong("differs", use, f"{what} has to be the same on all hosts, and {missing} has no"
                             f" vars.{name}", "give it as an input or a var of the plan")
            else:
                shared[name] = values[first]


def _wrong(code: str, use: Use, message: str, hint: str) -> Diagnostic:
    at = use.position()
    return Diagnostic(code, message, at, use.origin.line(at), hint)


def mapping(
    raw: Mapping[str, Any], unit: Unit, inventory: Inventory, origin: Origin, what: str, turn: tuple[Any, int] | None,
    *, through: bool = False, doubts: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], list[Diagnostic]]:
    """Each value of ``raw`` as `value` gives it, and what is wrong with the others (for which `MISTAKEN` stands).

    ``through``: what only uses names that mean the same in every plan file may stay as it is.
    """
    found: dict[str, Any] = {}
    wrong: list[Diagnostic] = []
    for name, one in raw.items():
        if through and {use.path[0] for use in text_uses(one, origin, "early")} <= EVERYWHERE:
            found[name] = one
            continue
        try:
            found[name] = value(one, unit, inventory, origin.below(name), f"{what} {name}", turn=turn,
                                doubts=doubts)
        except NotKnown as error:
            found[name] = MISTAKEN
            wrong.extend(error.diagnostics)
    return found, wrong
