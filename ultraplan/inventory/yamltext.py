"""YAML and JSON as Ansible reads them: YAML 1.1 (``yes`` and ``no`` are booleans, ``0640`` is octal), ``!vault`` and
``!unsafe``, JSON where the whole text is JSON; with the position of every value."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import yaml

from ultraplan.language.errors import Diagnostic, Position, SourceError
from ultraplan.language.source import MAX_ALIASED, MAX_DEPTH, SourceMap, Span
from ultraplan.language.syntax import explain
from ultraplan.vault import inert, tagged_loader

_CORE = "tag:yaml.org,2002:"
_MAPPINGS = frozenset({_CORE + "map", _CORE + "set", "!unsafe"})
_HALF = re.compile("[\ud800-\udfff]")
_LISTS = frozenset({_CORE + "seq", "!unsafe"})


def load(text: str, file: str) -> tuple[Any, SourceMap]:
    """The data that ``text`` writes (None where it writes nothing) and its source map; `VaultText` stands for an
    encrypted value. Values that aliases repeat are shared. Raises `SourceError` with every mistake that was found."""
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            pass  # not JSON; flow collections of YAML begin the same way
        else:
            source = _json_map(text, file)
            half = _HALF.search(json.dumps(data, ensure_ascii=False)) if "\\ud" in text.lower() else None
            if half:
                raise SourceError([Diagnostic("not-utf-8", f"half a character, U+{ord(half[0]):04X}, is no text",
                                              source.at(()))])
            return data, source
    return _Reader(text, file).read()


def _json_map(text: str, file: str) -> SourceMap:
    """The positions in JSON text. A tab, which JSON has only between its words, is no space to YAML."""
    try:
        return _Reader(text.replace("\t", " "), file).read()[1]
    except SourceError as error:
        if any(found.code == "duplicate-key" for found in error.diagnostics):
            raise
        return SourceMap(file, text)


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.map = SourceMap(file, text)
        self.found: list[Diagnostic] = []
        self.done: dict[int, tuple[Any, Span, int]] = {}
        self.open: set[int] = set()
        self.aliased = 0

    def read(self) -> tuple[Any, SourceMap]:
        root = self._compose()
        if root is None:
            return None, self.map
        data, span, _ = self._value(root, 0)
        if self.found:
            raise SourceError(self.found)
        return data, SourceMap(self.map.file, self.map.text, span)

    def _compose(self) -> yaml.Node | None:
        unprintable = yaml.reader.Reader.NON_PRINTABLE.search(self.map.text)
        if unprintable:
            self._stop("control-character", f"a control character, U+{ord(unprintable[0]):04X}, cannot stand here",
                       unprintable.start())
        try:
            self.loader = tagged_loader()(self.map.text)
            return self.loader.get_single_node()  # type: ignore[no-any-return]
        except yaml.composer.ComposerError as error:
            self._composition(error)
        except yaml.MarkedYAMLError as error:
            raise SourceError(explain(error, self.map)) from None
        except RecursionError:
            self._stop("too-deep", f"this is nested more than {MAX_DEPTH} levels deep", 0)

    def _composition(self, error: yaml.composer.ComposerError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        at = Position(self.map.file, mark.line + 1, mark.column + 1) if mark else Position(self.map.file, 1, 1)
        code, message, hint = "alias", str(error.problem), "a text that starts with * must be quoted"
        if "document" in message:
            code, message = "several-documents", "a second document starts here; a file holds one"
            hint = "put it in a file of its own"
        raise SourceError([Diagnostic(code, message, at, self.map.line(at.line), hint)])

    def _stop(self, code: str, message: str, offset: int) -> NoReturn:
        before = self.map.text[:offset]
        at = Position(self.map.file, before.count("\n") + 1, offset - before.rfind("\n"))
        raise SourceError([Diagnostic(code, message, at)])

    def _wrong(self, code: str, message: str, node: yaml.Node, hint: str | None = None) -> None:
        at = Span(node.start_mark, node.end_mark).position(self.map.file)
        self.found.append(Diagnostic(code, message, at, self.map.line(at.line), hint))

    def _value(self, node: yaml.Node, depth: int) -> tuple[Any, Span, int]:
        """The data of a node, its span, and how many values it stands for with its aliases written out."""
        mark = id(node)
        if mark in self.done:
            self.aliased += self.done[mark][2]
            if self.aliased > MAX_ALIASED:
                self._stop("alias-explosion", f"the aliases of this file repeat more than {MAX_ALIASED:,} values", 0)
            return self.done[mark]
        span = Span(node.start_mark, node.end_mark, getattr(node, "style", None) or "")
        if mark in self.open:
            self._wrong("alias", "an alias stands inside its own anchor", node)
            return None, span, 1
        if depth > MAX_DEPTH:
            self._wrong("too-deep", f"this is nested more than {MAX_DEPTH} levels deep", node)
            return None, span, 1
        self.open.add(mark)
        if isinstance(node, yaml.MappingNode):
            result = self._mapping(node, span, depth)
        elif isinstance(node, yaml.SequenceNode):
            result = self._list(node, span, depth)
        else:
            result = self._scalar(node), span, 1
        self.open.discard(mark)
        self.done[mark] = result
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag == _CORE + "binary":
            self._wrong("unknown-tag", "binary values (!!binary) are not read", node)
            return None
        try:
            return self.loader.construct_object(node, deep=True)
        except yaml.constructor.ConstructorError:
            self._unknown_tag(node)
        except (ValueError, OverflowError):
            self._wrong("yaml", f"{node.value!r} is not what its tag {node.tag.replace(_CORE, '!!')} says", node)
        return None

    def _unknown_tag(self, node: yaml.Node) -> None:
        if node.tag.startswith("!vault"):
            self._wrong("wrong-type", f"{node.tag} needs a text, as `ansible-vault encrypt_string` prints it", node)
            return
        self._wrong("unknown-tag", f"the tag {node.tag.replace(_CORE, '!!')} is not known", node,
                    "known: !vault and !unsafe; a text that starts with ! must be quoted")

    def _list(self, node: yaml.SequenceNode, span: Span, depth: int) -> tuple[Any, Span, int]:
        if node.tag not in _LISTS:
            self._unknown_tag(node)
        items, children, size = [], [], 1
        for item in node.value:
            value, where, count = self._value(item, depth + 1)
            items.append(value)
            children.append(where)
            size += count
        span.children = children
        return inert(items) if node.tag == "!unsafe" else items, span, size

    def _mapping(self, node: yaml.MappingNode, span: Span, depth: int) -> tuple[Any, Span, int]:
        if node.tag not in _MAPPINGS:
            self._unknown_tag(node)
        data: dict[Any, Any] = {}
        children: dict[Any, tuple[Span, Span]] = {}
        merges: list[yaml.Node] = []
        size = 1
        for key_node, value_node in node.value:
            if key_node.tag == _CORE + "merge":
                merges.append(value_node)
                continue
            value, where, count = self._value(value_node, depth + 1)
            size += count
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong("key-not-text", "a key must be text; this is a mapping or a list", key_node,
                            'a value that starts with {{ must be quoted: "{{ … }}"')
                continue
            key = self._scalar(key_node)
            if key in data:
                self._wrong("duplicate-key", f"the key '{key}' stands here a second time; line "
                            f"{children[key][0].line + 1} has it first", key_node,
                            "one of them would be ignored: remove it or rename it")
                continue
            data[key] = value
            children[key] = (Span(key_node.start_mark, key_node.end_mark), where)
        for merge in merges:
            size += self._merge(merge, data, children, depth)
        span.children = children
        if node.tag == _CORE + "set":
            return list(data), span, size
        return inert(data) if node.tag == "!unsafe" else data, span, size

    def _merge(self, node: yaml.Node, data: dict[Any, Any], children: dict[Any, tuple[Span, Span]], depth: int) -> int:
        """YAML 1.1's merge key: the keys of a mapping, or of several, that the mapping does not have itself."""
        size = 0
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                self._wrong("merge-key", "'<<' takes a mapping or a list of mappings", source)
                continue
            value, where, count = self._value(source, depth + 1)
            size += count
            for key in value or ():
                if key not in data and isinstance(where.children, dict):
                    data[key], children[key] = value[key], where.children[key]
        return size
