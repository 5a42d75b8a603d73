"""The Jinja environment of expressions: sandboxed, strict about names, and bounded in what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.visitor import NodeTransformer

from ultraplan.language import bounds
from ultraplan.language.filters import all_filters, guarded, known, text
from ultraplan.secrets import has_marker

_TEXT_METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "swapcase", "title", "upper",
})
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
_LIST_METHODS = frozenset({"count", "index"})
_TESTS: Mapping[str, Any] = TESTS
_NO_COMMENT = "\0{#"
"""Values have no comments: ``${#name}`` is shell, and stays as it is."""


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox, where attributes of mappings are their keys first, and every loop, call, operator
    and filter draws on the evaluation's budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, finalize=_printed,
                         autoescape=False, optimized=False, **options)
        self.filters = all_filters()
        self.tests = {name: guarded(f"is {name}", test) for name, test in _TESTS.items()}
        del self.globals["lipsum"]

    def written(self, source: str) -> nodes.Template:
        """The syntax tree of ``source`` as it stands; `bounded` makes of it what may be compiled."""
        return super()._parse(source, None, None)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return bounded(self.written(source))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        bounds.arithmetic(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                if attribute not in _MAPPING_METHODS:
                    return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping):
            try:
                return obj[argument]
            except (KeyError, TypeError):
                return self.undefined(obj=obj, name=argument)
        if isinstance(obj, str) and has_marker(obj):
            raise SecurityError("a secret's value is not known here, so it has no parts")
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | bytes):
            return attr in _TEXT_METHODS
        if isinstance(obj, Mapping):
            return attr in _MAPPING_METHODS
        if isinstance(obj, list | tuple):
            return attr in _LIST_METHODS
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """None: ``str.format`` gets no special leave, for it can pad to any width."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        return self.undefined(f"'{attribute}' of a {_kind(obj)} cannot be used in an expression",
                              name=attribute, obj=obj, exc=SecurityError)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - Jinja's own names
        bounds.turn()
        for one in (*args, *kwargs.values()):
            bounds.measured(one, known)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            if has_marker(owner):
                raise SecurityError(f"a secret's value is not known here, so it has no .{__obj.__name__}()")
            if __obj.__name__ == "replace" and len(args) > 1:
                bounds.replacement(owner, text(args[0]), text(args[1]))
            elif __obj.__name__ == "join" and args:
                items = [text(one) for one in bounds.counted(args[0])]
                bounds.joined(items, owner)
                args = (items,)
        return super().call(__context, __obj, *args, **kwargs)


def _printed(value: Any) -> str:
    known(value)
    if isinstance(value, Undefined):
        str(value)  # raises, and says what is not defined
    return bounds.printed(text(bounds.measured(value, known)))


def _kind(value: Any) -> str:
    return {"str": "text", "dict": "mapping", "int": "number", "float": "number"}.get(
        type(value).__name__, type(value).__name__)


class _Bounded(NodeTransformer):
    """Leads through a filter what the environment is not asked about: the turns of loops, ``~``, slices, and lists and
    mappings that are written out."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - jinja2's visitor names
        self.generic_visit(node)
        node.iter = _through("_turns", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_concat", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):  # which Jinja does not ask the environment about
            node.node = _through("_sliced", node.node)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_measured", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_measured", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_measured", node) if node.ctx == "load" else node


def _through(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


Tree = TypeVar("Tree", bound=nodes.Node)


def bounded(node: Tree) -> Tree:
    """``node``, a template or an expression as it is written, within the evaluation's budget."""
    found: Tree = _Bounded().visit(node)
    return found


@cache
def environment(*, files: bool = False, crlf: bool = False) -> Environment:
    """The environment for values, or for template ``files`` (which may have comments); ``crlf``: lines end in CRLF."""
    newline: Any = "\r\n" if crlf else "\n"
    if files:
        return Environment(newline_sequence=newline)
    return Environment(newline_sequence=newline, comment_start_string=_NO_COMMENT, comment_end_string="#}\0")
