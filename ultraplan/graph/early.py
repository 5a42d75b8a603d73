"""Values that have to be known when a plan is compiled: loops, includes and what is handed to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ultraplan.graph.names import EVERYWHERE, LATE
from ultraplan.graph.units import Unit, mistake
from ultraplan.graph.uses import Use, text_uses
from ultraplan.inventory.values import templated
from ultraplan.inventory.variables import World
from ultraplan.language.document import Origin
from ultraplan.language.errors import Diagnostic
from ultraplan.language.examining import ExpressionError, check
from ultraplan.language.unknown import MISTAKEN, UnknownValue

if TYPE_CHECKING:
    from ultraplan.language.expressions import Variables


class NotKnown(Exception):
    """The value is not known, or wrong; why."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__()
        self.diagnostics = diagnostics


def value(
    raw: Any, unit: Unit, world: World, origin: Origin, what: str, *, turn: tuple[Any, int] | None = None,
    bare: bool = False, doubts: frozenset[str] = frozenset(),
) -> Any:
    """``raw`` rendered with the names that are known before any host is touched; raises `NotKnown`.

    Variables of the inventory count where all hosts of the unit have the same value. ``turn``: the loop's item and
    index. ``what``: the thing whose value it is, for messages. ``bare``: ``raw`` is an expression without braces.
    ``doubts``: names that mistakes leave open; of what needs them, nothing is said.
    """
    from ultraplan.language.expressions import evaluate, render

    doubts |= unit.scope.doubts
    late = list(_late(raw, unit, world, origin, what, doubts, bare=bare))
    if late:
        raise NotKnown([one for one in late if one is not None])
    names: dict[str, Any] = {
        "inputs": unit.scope.inputs,
        "groups": world.groups,
    }
    if turn is not None:
        names["item"], names["index"] = turn
    names["vars"] = _variables(world, unit, unit.hosts[0], names)
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
    raw: Any, unit: Unit, world: World, origin: Origin, what: str, doubts: frozenset[str], *, bare: bool,
) -> Iterator[Diagnostic | None]:
    """The names in ``raw`` whose values come too late, or differ; None: something that is told elsewhere."""
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
            mine = [host for host in unit.hosts if name in world.inventory.hosts[host].vars]
            if not mine:
                if use.sure > 1 or top in doubts:  # reported with the other unknown names
                    yield None
                continue
            differs = next((host for host in mine[1:] if not _same(world, unit, name, mine[0], host)), None)
            missing = next((host for host in unit.hosts if host not in mine), None) if len(mine) < len(unit.hosts) \
                else None
            if differs is not None:
                yield _wrong("differs", use, f"{what} has to be the same on all hosts, and vars.{name} differs between"
                             f" {mine[0]} and {differs}", "give it as an input or a var of the plan")
            elif missing is not None:
                yield _wrong("differs", use, f"{what} has to be the same on all hosts, and {missing} has no"
                             f" vars.{name}", "give it as an input or a var of the plan")
            elif isinstance(_value(world, unit, name, mine[0]), ExpressionError):
                yield None  # told where the inventory's own templates are looked at


def _same(world: World, unit: Unit, name: str, first: str, other: str) -> bool:
    """Whether the inventory's variable ``name`` has the same value on both hosts."""
    one, two = (world.inventory.hosts[host].vars[name] for host in (first, other))
    if not templated(one) and not templated(two):
        return one is two or bool(one == two)
    values = _value(world, unit, name, first), _value(world, unit, name, other)
    return any(isinstance(value, ExpressionError) for value in values) or bool(values[0] == values[1])


def _value(world: World, unit: Unit, name: str, host: str) -> Any:
    """The value of an inventory's variable on a host, or the error that there is instead."""
    try:
        return _variables(world, unit, host, {})[name]
    except ExpressionError as error:
        return error


def _variables(world: World, unit: Unit, host: str, names: Mapping[str, Any]) -> Variables:
    """The variables that ``unit`` sees on ``host``."""
    from ultraplan.language.expressions import Variables

    own = world[host]
    return Variables([unit.inherited.vars], names, inventory=own.host.vars, magic=own.magic)


def _wrong(code: str, use: Use, message: str, hint: str) -> Diagnostic:
    at = use.position()
    return Diagnostic(code, message, at, use.origin.line(at), hint)


def mapping(
    raw: Mapping[str, Any], unit: Unit, world: World, origin: Origin, what: str, turn: tuple[Any, int] | None,
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
            found[name] = value(one, unit, world, origin.below(name), f"{what} {name}", turn=turn,
                                doubts=doubts)
        except NotKnown as error:
            found[name] = MISTAKEN
            wrong.extend(error.diagnostics)
    return found, wrong
