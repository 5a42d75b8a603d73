"""Templates and expressions as code, compiled once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from ultraplan.language.errors import did_you_mean
from ultraplan.language.names import Reference, asked_names, free_names
from ultraplan.language.sandbox import bounded, environment

RESULT = "_ultraplan_result"
"""The name that an expression's value has in the context."""

_BRACES = re.compile(r"\s*\{\{(.*)\}\}\s*", re.DOTALL)


class ExpressionError(Exception):
    """An expression that cannot be evaluated. ``path`` leads to it in the value that was rendered; ``line`` (from 1) is
    its line in the text, where that is known; ``hint`` is what was probably meant."""

    def __init__(self, message: str, *, path: tuple[str | int, ...] = (), line: int | None = None,
                 hint: str | None = None) -> None:
        self.reason = message
        self.path = path
        self.line = line
        self.hint = hint
        super().__init__(f"{message}; {hint}" if hint else message)


class Code(NamedTuple):
    """A compiled template. ``whole``: it is one expression, whose value is left in the context as `RESULT`. ``names``:
    those it uses; ``asked``: those it provides for the absence of."""

    template: Template
    whole: bool
    names: frozenset[Reference]
    asked: frozenset[Reference]


@lru_cache(maxsize=4096)
def template(text: str, file: bool) -> Code:
    """The code of a template; ``file``: it is a template file, which may have comments. Raises `ExpressionError`."""
    crlf = "\r" in text
    if crlf and re.search(r"\r(?!\n)|(?<!\r)\n", text):
        raise ExpressionError("a template's lines must all end in the same way; these mix CR and LF")
    env = environment(files=file, crlf=crlf)
    try:
        tree = env.parse(text)
        for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)):
            raise TemplateSyntaxError(f"'{type(node).__name__.lower()}' has no meaning here", node.lineno)
        match tree.body:
            case [nodes.Output(nodes=[value])] if not isinstance(value, nodes.TemplateData):
                return _compiled(env, value)
        return _named(env, tree, tree, False)
    except TemplateSyntaxError as error:
        raise _syntax(error) from None
    except RecursionError:
        raise ExpressionError("this is nested too deep") from None


@lru_cache(maxsize=4096)
def expression(text: str) -> Code:
    """The code of an expression without braces. Raises `ExpressionError`."""
    env = environment()
    try:
        parser = Parser(env, text, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateSyntaxError("there is more than one expression here", parser.stream.current.lineno)
        tree.set_environment(env)
        return _compiled(env, bounded(tree))
    except TemplateSyntaxError as error:
        raise _syntax(error) from None
    except RecursionError:
        raise ExpressionError("this is nested too deep") from None


def _compiled(env: Any, value: nodes.Expr) -> Code:
    store = nodes.Assign(nodes.Name(RESULT, "store", lineno=1), value, lineno=value.lineno or 1)
    tree = nodes.Template([store], lineno=1)
    tree.set_environment(env)
    return _named(env, tree, value, True)


def _named(env: Any, tree: nodes.Template, named: nodes.Node, whole: bool) -> Code:
    """The code of ``tree``, with the names that ``named`` uses; they are read first, for compiling changes the tree."""
    names, asked = free_names(named), asked_names(named)
    return Code(env.from_string(tree), whole, names, asked)


def _syntax(error: TemplateSyntaxError) -> ExpressionError:
    message = error.message or "a syntax error"
    hint = None
    unknown = re.match(r"No (filter|test) named '([^']*)'", message)
    if unknown:
        env = environment()
        shown = [name for name in (env.filters if unknown[1] == "filter" else env.tests) if name[0] != "_"]
        message, hint = f"there is no {unknown[1]} '{unknown[2]}'", did_you_mean(unknown[2], shown)
    for pattern, words in _PLAINER:
        message = re.sub(pattern, words, message)
    return ExpressionError(message.rstrip("."), line=error.lineno, hint=hint)


_PLAINER = (
    (r".*The innermost block that needs to be closed is '(\w+)'\.", r"the {% \1 %} is not closed"),
    (r".*Jinja was looking for the following tags: (.*)", r"the text ends before one of: \1"),
    (r"'end of print statement'", "'}}'"),
    (r"'end of statement block'", "'%}'"),
    (r"unexpected '?end of template'?", "the expression ends too early"),
    (r"'?end of template'?", "the end of the text"),
)
"""Jinja's messages in the words of someone who writes expressions."""


def unbraced(text: str) -> str:
    """``text``, an expression, without the braces that one may put around all of it."""
    found = _BRACES.fullmatch(text)
    return found[1] if found and "{{" not in found[1] and "}}" not in found[1] else text
