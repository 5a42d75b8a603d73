"""What a YAML parser's complaint means, in the words of someone who writes plans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ultraplan.language.errors import Diagnostic, Position

if TYPE_CHECKING:
    from ultraplan.language.source import SourceMap

_QUOTE = 'put the value in quotes: "…"'
_INDENT = "keys of one mapping, and the dashes of one list, stand in the same column"

@dataclass(frozen=True, slots=True)
class _Meaning:
    """``pattern``: what the parser says (libyaml's words or PyYAML's)."""

    pattern: str
    code: str
    message: str
    hint: str | None = None


_MEANINGS = (
    _Meaning(r"mapping values are not allowed", "yaml-colon",
             "a colon followed by a space cannot stand inside an unquoted value", _QUOTE),
    _Meaning(r"unknown escape character", "yaml-escape",
             "this backslash escape does not exist in a double-quoted string",
             "use single quotes, where a backslash is a backslash, or double it: \\\\"),
    _Meaning(r"unexpected end of stream|unexpected document indicator", "yaml-quote",
             "a quoted string is not closed", "add the closing quote"),
    _Meaning(r"',' or '\}'", "yaml-bracket", "a mapping in braces is not closed, or a comma is missing",
             "add } or , here"),
    _Meaning(r"',' or '\]'", "yaml-bracket", "a list in brackets is not closed, or a comma is missing",
             "add ] or , here"),
    _Meaning(r"could not find expected ':'", "yaml-key",
             "this line has neither a colon after its key nor a dash before its item", "write it as key: value"),
    _Meaning(r"sequence entries are not allowed", "yaml-list",
             "a list cannot begin on the line of its key",
             "put '- ' on the next line, indented, or write [a, b]"),
    _Meaning(r"mapping keys? (?:is|are) not allowed", "yaml-key", "a key cannot stand here", _INDENT),
    _Meaning(r"expected '-' indicator|sequence.*expected <block end>", "yaml-indent",
             "a list goes on with something that is not one of its items", _INDENT),
    _Meaning(r"found '?-|<block sequence start>", "yaml-indent",
             "a list item stands where a key should", _INDENT),
    _Meaning(r"expected (?:key|<block end>)|while parsing a block", "yaml-indent",
             "this does not fit the lines above: wrong indentation, or text after a closing quote or bracket",
             _INDENT),
    _Meaning(r"alphabetic or numeric", "yaml-start", "an unquoted value cannot start with * or &", _QUOTE),
    _Meaning(r"cannot start any token", "yaml-start", "an unquoted value cannot start with this character",
             _QUOTE),
    _Meaning(r"<document start>", "yaml-after-end", "there is text after the end of the value", _INDENT),
    _Meaning(r"tag handle|(?:parsing|scanning) a tag", "yaml-tag", "this tag cannot be read",
             "a text that starts with ! must be quoted"),
    _Meaning(r"chomping|block scalar", "yaml-block",
             "after | or > only a digit, + or - may stand on the line",
             "begin the text on the next line, indented"),
    _Meaning(r"directive|incompatible", "yaml-directive",
             "a line that starts with % is a YAML directive, and this one cannot be read"),
)


def explain(error: Any, source: SourceMap) -> list[Diagnostic]:
    """The diagnostics for a parser's ``error`` (a `yaml.MarkedYAMLError`)."""
    mark = error.problem_mark or error.context_mark
    row, column = (mark.line, mark.column) if mark is not None else (0, 0)
    text = " ".join(filter(None, (error.context, error.problem)))
    line = source.line(row + 1)
    if line[column : column + 1] == "\t" or ("\\t" in text and "\t" in line):
        return _tabs(source, row, line.index("\t", column if "\t" in line[column:] else 0))
    template = _template(source, row, column, error)
    if template is not None:
        return [template]
    meaning = next((m for m in _MEANINGS if re.search(m.pattern, text)),
                   _Meaning("", "yaml", f"this is not YAML: {error.problem or error.context}"))
    code = meaning.code
    if code in ("yaml-quote", "yaml-bracket", "yaml-start", "yaml-key") and error.context_mark is not None:
        row, column = error.context_mark.line, error.context_mark.column
    elif code == "yaml-colon" and re.fullmatch(r"\s*(?:- +)*[\w.-]+", line[:column]):
        meaning = _Meaning("", "yaml-indent", "this key does not fit the line above, which has a value already, "
                           "or lacks its colon", _INDENT)
        column = len(line) - len(line.lstrip())
    elif not line[column:].strip():
        while row and not source.line(row + 1).strip():  # the empty end of a file tells nobody anything
            row -= 1
        text = source.line(row + 1)
        column = len(text) - len(text.lstrip())
    at = Position(source.file, row + 1, column + 1)
    return [Diagnostic(meaning.code, meaning.message, at, source.line(row + 1), meaning.hint)]


def _tabs(source: SourceMap, row: int, column: int) -> list[Diagnostic]:
    """The tab that stopped the parser, and every later line that a tab begins: no text block can hold those."""
    places = [(row, column)]
    places += [(number, 0) for number, line in enumerate(source.text.split("\n"))
               if number > row and line.startswith("\t") and line.strip()]
    return [Diagnostic("tab", "a tab cannot indent or separate in YAML",
                       Position(source.file, number + 1, at + 1), source.line(number + 1), "use spaces")
            for number, at in places]


_UNQUOTED = re.compile(r"(?:^|[:\-\[,] +|[\[{,])(\{\{|\{%)")


def _template(source: SourceMap, row: int, column: int, error: Any) -> Diagnostic | None:
    """The diagnostic for a value that starts with a template, unquoted, if that is what stopped the parser."""
    rows = [row]
    if error.context_mark is not None and error.context_mark.line != row:
        rows.append(error.context_mark.line)
    if row and not source.line(row + 1)[:column].strip():
        rows.append(row - 1)
    for number in rows:
        line = source.line(number + 1)
        for match in _UNQUOTED.finditer(line):
            start = match.start(1)
            if number == row and start > column:
                break
            if line[:start].count('"') % 2 == 0 and line[:start].count("'") % 2 == 0:
                return unquoted_template(source, number, start)
    return None


def unquoted_template(source: SourceMap, row: int, column: int) -> Diagnostic:
    """The diagnostic for a value that starts with ``{{`` or ``{%`` at ``row`` and ``column`` (from 0), unquoted."""
    line = source.line(row + 1)
    return Diagnostic(
        "unquoted-template",
        f"a value that starts with {line[column : column + 2]} must be quoted; YAML reads a brace as a mapping",
        Position(source.file, row + 1, column + 1, 2), line, 'write the whole value in quotes: "{{ … }}"')
