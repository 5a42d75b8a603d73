"""A small inventory and a few step types to compile plans with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ultraplan.graph.compile import compile_plan
from ultraplan.graph.model import Graph
from ultraplan.inventory.model import Group, Host, Inventory
from ultraplan.language.document import Document
from ultraplan.language.plan import Language
from ultraplan.steps.base import Change, Context, ControllerStep, State, WayBack
from ultraplan.steps.params import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class DoParams:
    """Parameters of `do`."""

    what: Annotated[Any, Meta(description="Anything")] = None
    more: Annotated[Any, Meta(description="Anything")] = None


class Do(ControllerStep[DoParams]):
    """Stands for any step."""

    name = "do"
    summary = "Stand for any step"
    Params = DoParams
    shorthand = "what"
    outputs_doc: ClassVar[Mapping[str, str]] = {"path": "a path", "size": "a size"}

    def decide(self, params: DoParams, state: State) -> Change | None:
        return None

    def act(self, params: DoParams, state: State, context: Context) -> Mapping[str, Any]:
        return {}


class Claim(Do):
    """Stands for a step with a parameter that is an expression without braces."""

    name = "claim"
    raw_params = frozenset({"what"})
    way_back = WayBack.READ_ONLY
    outputs_doc: ClassVar[Mapping[str, str]] = {}


class Say(Do):
    """Stands for a step that sets facts."""

    name = "say"
    Params = dict[str, Any]
    shorthand = None
    sets_facts = True
    way_back = WayBack.READ_ONLY
    outputs_doc: ClassVar[Mapping[str, str]] = {"*": "each name"}


TYPES = {kind.name: kind() for kind in (Do, Claim, Say)}
LANGUAGE = Language(TYPES, schema)


def inventory() -> Inventory:
    """web1 … web4 and db1, db2; every host has ``port``, web1 alone ``alone``, and ``zone`` differs."""
    web = tuple(f"web{n}" for n in range(1, 5))
    db = ("db1", "db2")
    hosts = {}
    for name in (*web, *db):
        own = {"port": 80, "zone": name[-1], "users": ["ann", "bob"]} | ({"alone": 1} if name == "web1" else {})
        hosts[name] = Host(name, ("all", name[:-1]), own | ({"ansible_host": "192.0.2.1"} if name == "web1" else {}))
    groups = {"all": Group("all", ("web", "db")), "web": Group("web", (), web), "db": Group("db", (), db),
              "empty": Group("empty")}
    return Inventory(hosts, groups)


def compile_text(
    text: str, files: Mapping[str, str] | None = None, inputs: Mapping[str, Any] | None = None, **options: Any,
) -> Graph:
    """The graph of a plan's text, which stands as ``plan.yaml`` beside the other ``files``."""
    from ultraplan.language.inputs import resolve_inputs

    texts = {**(files or {}), "plan.yaml": text}

    def load(path: str) -> Document:
        if path not in texts:
            raise FileNotFoundError(2, "No such file or directory", path)
        return LANGUAGE.parse(texts[path], path)

    document = load("plan.yaml")
    given = resolve_inputs(document, inputs or {}, {})
    return compile_plan(document, inventory(), given, step_types=TYPES, load=load, **options)
