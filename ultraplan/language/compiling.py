"""Templates and expressions as code, compiled once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from ultraplan.language.errors import did_you_mean
from ultraplan.language.examining import Examined, ExpressionError, Kind, Reference
from ultraplan.language.names import asked_names, free_names
from ultraplan.language.sandbox import Environment, bounded, environment

RESULT = "_ultraplan_result"
"""The name that an expression's value has in the context."""


class Code(NamedTuple):
    """A compiled template. ``whole``: it is one expression, whose value is left in the context as `RESULT`. ``names``:
    those it uses; ``roots``: every name that it may ask its context for."""

    template: Template
    whole: bool
    names: frozenset[Reference]
    roots: frozenset[str]


def parsed(text: str, kind: Kind) -> Examined:
    """What ``text`` uses, and what is wrong with it, by its syntax tree. Compiling comes after, for what is run."""
    nothing = frozenset[Reference]()
    try:
        tree = _expression_tree(text) if kind == "bare" else _tree(text, kind == "file")
    except ExpressionError as error:
        return Examined(nothing, nothing, error)
    every, deepest = _nodes(tree)
    wrong = _lacking(every)
    if wrong is None and not (deepest <= _SIMPLE_DEPTH and all(map(_simple, every))):
        try:
            _ = expression(text) if kind == "bare" else template(text, kind == "file")
        except ExpressionError as error:
            wrong = error
    return Examined(free_names(tree), asked_names(every), wrong)


@lru_cache(maxsize=4096)
def template(text: str, file: bool) -> Code:
    """The code of a template; ``file``: it is a template file, which may have comments. Raises `ExpressionError`."""
    env = environment(files=file, crlf="\r" in text)
    with _explained():
        tree = bounded(_tree(text, file))
    match tree.body:
        case [nodes.Output(nodes=[value])] if not isinstance(value, nodes.TemplateData):
            return _compiled(env, value)
    return _named(env, tree, tree, False)


@lru_cache(maxsize=4096)
def expression(text: str) -> Code:
    """The code of an expression without braces. Raises `ExpressionError`."""
    env = environment()
    with _explained():
        tree = bounded(_expression_tree(text))
        tree.set_environment(env)
    return _compiled(env, tree)


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever Jinja or Python have against a text, as `ExpressionError`."""
    try:
        yield
    except TemplateSyntaxError as error:
        raise _syntax(error) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise ExpressionError("this is nested too deep, or names an argument twice") from None
    except ValueError as error:
        raise ExpressionError(f"it holds a number that is too long: {error}") from None


def _tree(text: str, file: bool) -> nodes.Template:
    """The syntax of a template as it is written."""
    crlf = "\r" in text
    if crlf and re.search(r"\r(?!\n)|(?<!\r)\n", text):
        raise ExpressionError("a template's lines must all end in the same way; these mix CR and LF")
    with _explained():
        tree = environment(files=file, crlf=crlf).written(text)
        for node in _nodes(tree)[0]:
            if isinstance(node, _FORBIDDEN):
                raise TemplateSyntaxError(f"'{type(node).__name__.lower()}' has no meaning here", node.lineno)
        return tree


_FORBIDDEN = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


def _expression_tree(text: str) -> nodes.Expr:
    """The syntax of an expression as it is written."""
    with _explained():
        parser = Parser(environment(), text, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateSyntaxError("there is more than one expression here", parser.stream.current.lineno)
        return tree


def _nodes(tree: nodes.Node) -> tuple[list[nodes.Node], int]:
    """Every node of ``tree``, itself among them, in the order of the text, and how deep they are nested."""
    found, deepest, todo = [], 0, [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        found.append(node)
        deepest = max(deepest, depth)
        todo += [(child, depth + 1) for child in reversed(list(node.iter_child_nodes()))]
    return found, deepest


def _compiled(env: Environment, value: nodes.Expr) -> Code:
    store = nodes.Assign(nodes.Name(RESULT, "store", lineno=1), value, lineno=value.lineno or 1)
    tree = nodes.Template([store], lineno=1)
    tree.set_environment(env)
    return _named(env, tree, value, True)


def _named(env: Environment, tree: nodes.Template, named: nodes.Node, whole: bool) -> Code:
    """The code of ``tree``, with the names that ``named`` uses; they are read first, for compiling changes the tree."""
    names, roots = free_names(named), frozenset(name.name for name in tree.find_all(nodes.Name))
    if (error := _lacking(_nodes(tree)[0])) is not None:
        raise error
    with _explained():
        return Code(env.from_string(tree), whole, names, roots)


_SIMPLE_DEPTH = 24
_SIMPLE = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Filter,
           nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul,
           nodes.CondExpr, nodes.If, nodes.List, nodes.Dict, nodes.Pair)


def _simple(node: nodes.Node) -> bool:
    """Whether ``node`` compiles for sure where nothing is nested deep and its filters and tests are there: no statement
    but `if`, no argument by name, no call. (Compiling takes ten times as long as parsing.)"""
    if type(node) is nodes.Name:
        return node.ctx == "load"
    return isinstance(node, _SIMPLE) and not getattr(node, "kwargs", None)


def _lacking(every: list[nodes.Node]) -> ExpressionError | None:
    """The first filter or test that there is not. (Jinja itself looks for those in branches when it takes them.)"""
    for node in every:
        if isinstance(node, nodes.Filter | nodes.Test):
            env = environment()
            what, known = ("filter", env.filters) if isinstance(node, nodes.Filter) else ("test", env.tests)
            if node.name not in known:
                return _unknown(what, node.name, node.lineno)
    return None


def _unknown(what: str, name: str, line: int | None) -> ExpressionError:
    env = environment()
    shown = [name for name in (env.filters if what == "filter" else env.tests) if name[0] != "_"]
    return ExpressionError(f"there is no {what} '{name}'", line=line, hint=did_you_mean(name, shown))


def _syntax(error: TemplateSyntaxError) -> ExpressionError:
    message = error.message or "a syntax error"
    for pattern, words in _PLAINER:
        message = re.sub(pattern, words, message)
    return ExpressionError(message.rstrip("."), line=error.lineno)


_PLAINER = (
    (r".*The innermost block that needs to be closed is '(\w+)'\.", r"the {% \1 %} is not closed"),
    (r".*Jinja was looking for the following tags: (.*)", r"the text ends before one of: \1"),
    (r"'end of print statement'", "'}}'"),
    (r"'end of statement block'", "'%}'"),
    (r"unexpected '?end of template'?", "the expression ends too early"),
    (r"'?end of template'?", "the end of the text"),
)
"""Jinja's messages in the words of someone who writes expressions."""
