"""From a YAML parser's events to plain data with positions; see `ultraplan.language.source.load_yaml`."""

from __future__ import annotations

import gc
import re
from typing import Any

import yaml

from ultraplan.language.errors import Diagnostic, Position, did_you_mean
from ultraplan.language.source import LINE_END, MAX_ALIASED, MAX_DEPTH, Read, SourceMap, Span
from ultraplan.language.syntax import explain, unquoted_template
from ultraplan.secrets import CLOSE, OPEN

_BAD_CHARACTERS = re.compile(
    f"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[{OPEN}{CLOSE}]")
_CHARACTER_HINTS = {
    "reserved-character": "it marks secrets while they travel",
    "control-character": 'a double-quoted string may hold it as an escape, "\\x07"',
}
_MOST_CHARACTERS = 20
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NUMBER_STARTS = frozenset("+-.0123456789")
_CORE = "tag:yaml.org,2002:"
_TAGS = {int: "int", float: "float", bool: "bool", type(None): "null"}
_MAX_DIGITS = 1000

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Frame:
    """A mapping or list that is being read. ``key``: the mapping's key whose value comes next."""

    __slots__ = ("anchor", "bad", "data", "key", "key_span", "keyed", "merges", "size", "span")

    def __init__(self, data: list[Any] | dict[str, Any], span: Span, anchor: str | None) -> None:
        self.data = data
        self.span = span
        self.anchor = anchor
        self.key: str | None = None
        self.key_span: Span | None = None
        self.keyed = False
        self.bad = False
        self.merges: list[tuple[Any, Span, Span]] = []
        self.size = 1


class Composer:
    """Reads one text; `compose` is its one use."""

    def __init__(self, text: str, file: str) -> None:
        self.map = SourceMap(file, text)
        self.found: list[Diagnostic] = []
        self.anchors: dict[str, tuple[Any, Span, int]] = {}
        self.aliased = 0
        self.frames: list[_Frame] = []
        self.result: tuple[Any, Span] | None = None

    def compose(self) -> Read:
        """What the text writes, and what is wrong with it."""
        self._characters()
        if self.found:
            return Read(None, self.map, self.found)
        parser = _Parser(self.map.text)
        collecting = gc.isenabled()
        gc.disable()  # nothing here becomes garbage, and looking for it doubles the time of a large file
        try:
            self._events(parser)
        except yaml.MarkedYAMLError as error:
            self.found.extend(explain(error, self.map))
            self.result = None
        finally:
            if collecting:
                gc.enable()
            parser.dispose()
        if self.result is None:
            return Read(None, self.map, self.found)
        data, root = self.result
        return Read(data, SourceMap(self.map.file, self.map.text, root), self.found)

    def _wrong(self, code: str, message: str, where: Span | Position, hint: str | None = None) -> None:
        at = where.position(self.map.file) if isinstance(where, Span) else where
        self.found.append(Diagnostic(code, message, at, self.map.line(at.line), hint))

    def _characters(self) -> None:
        if _BAD_CHARACTERS.search(self.map.text) is None:
            return
        for number, line in enumerate(LINE_END.split(self.map.text), 1):
            for match in _BAD_CHARACTERS.finditer(line):
                at = Position(self.map.file, number, match.start() + 1)
                code = "reserved-character" if match[0] in (OPEN, CLOSE) else "control-character"
                self.found.append(Diagnostic(
                    code, f"the character U+{ord(match[0]):04X} cannot stand in a plan or an inventory", at,
                    _BAD_CHARACTERS.sub("\ufffd", line), _CHARACTER_HINTS[code]))
                if len(self.found) >= _MOST_CHARACTERS:
                    return

    def _events(self, parser: Any) -> None:
        documents = 0
        while parser.check_event():
            event = parser.get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close(event)
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents == 2:
                    self._wrong("several-documents", "a second document starts here; a file holds one",
                                Span(event.start_mark, event.end_mark), "put it in a file of its own")
                    return
            if self.aliased > MAX_ALIASED or len(self.frames) > MAX_DEPTH:
                return

    def _scalar(self, event: Any) -> None:
        plain = event.implicit[0] and event.tag is None
        span = Span(event.start_mark, event.end_mark, "" if plain else event.style)
        frame = self.frames[-1] if self.frames else None
        if frame is not None and type(frame.data) is dict and not frame.keyed:
            self._key(frame, event, span)
            return
        value: Any = event.value
        if plain:
            value = self._typed(value, span)
        elif event.tag is not None:
            value = self._tagged(event, span)
        if type(value) is str and (OPEN in value or CLOSE in value):
            self._wrong("reserved-character", "the characters U+E0F0 and U+E0F1 are reserved", span)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, span, 1)
        self._add(value, span, 1)

    def _key(self, frame: _Frame, event: Any, span: Span) -> None:
        key = event.value
        if event.tag is not None:
            self._tagged(event, span)
        elif event.implicit[0] and key != "<<" and not isinstance(self._typed(key, span, True), str):
            shown = key or "nothing"
            self._wrong("key-not-text", f"a key must be text; {shown} is not", span,
                        f'write it as a quoted string: "{key}"' if key else None)
        if event.anchor is not None:
            self.anchors[event.anchor] = (key, span, 1)
        frame.key, frame.key_span, frame.keyed, frame.bad = key, span, True, False
        merge = key == "<<" and event.implicit[0]
        if merge:
            frame.key = None
            return
        children: Any = frame.span.children
        if key in children:
            first = children[key][0]
            self._wrong("duplicate-key",
                        f"the key '{key}' stands here a second time; line {first.line + 1} has it first",
                        span, "one of them would be ignored: remove it or rename it")
            frame.bad = True

    def _typed(self, text: str, span: Span, key: bool = False) -> Any:
        """The value of a plain scalar in YAML 1.2's core schema."""
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if text[0] in _NUMBER_STARTS:
            if _INT.fullmatch(text):
                if len(text) > _MAX_DIGITS:
                    if not key:
                        self._wrong("number", f"a number of {len(text)} digits is too long", span,
                                    "quote it if it is text")
                    return 0
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if _FLOAT.fullmatch(text):
                number = float(text)
                return text if number in (float("inf"), float("-inf")) else number
            if text[-4:].lower() in (".inf", ".nan") and len(text) <= 5 and not key:
                self._wrong("number", f"{text} is not a number that a plan can hold", span,
                            "quote it if it is text")
        return text

    def _tagged(self, event: Any, span: Span) -> Any:
        tag, value = event.tag, event.value
        if tag in ("!", _CORE + "str"):
            return value
        if tag in (_CORE + "int", _CORE + "float", _CORE + "bool", _CORE + "null"):
            typed = self._typed(value, span, True)
            if tag == _CORE + "float" and type(typed) is int:
                typed = float(typed)
            if _TAGS.get(type(typed)) == tag[len(_CORE):]:
                return typed
            self._wrong("tag", f"{value!r} is not what its tag !!{tag[len(_CORE):]} says", span)
            return None
        self._tag(tag, span)
        return None

    def _tag(self, tag: str, span: Span) -> None:
        shown = "!!" + tag[len(_CORE):] if tag.startswith(_CORE) else tag
        if tag in ("!vault", "!vault-encrypted"):
            self._wrong("vault-tag", "values encrypted in place (!vault) are not read", span,
                        "refer to the vault file instead: {secret: vault:FILE#KEY}")
        elif tag == "!unsafe":
            self._wrong("unknown-tag", "the tag !unsafe is not known", span,
                        "to keep braces as they are, write {% raw %}…{% endraw %}")
        else:
            self._wrong("unknown-tag", f"the tag {shown} is not known", span,
                        "plain YAML has no need of tags; a text that starts with ! must be quoted")

    def _open(self, event: Any) -> None:
        span = Span(event.start_mark, event.end_mark)
        mapping = type(event) is yaml.MappingStartEvent
        span.children = {} if mapping else []
        if event.tag not in (None, "!", _CORE + ("map" if mapping else "seq")):
            self._tag(event.tag, span)
        parent = self.frames[-1] if self.frames else None
        if parent is not None and type(parent.data) is dict and not parent.keyed:
            self._bad_key(span)
            parent.key, parent.key_span, parent.keyed, parent.bad = "", span, False, True
        self.frames.append(_Frame({} if mapping else [], span, event.anchor))
        if len(self.frames) > MAX_DEPTH:
            self._wrong("too-deep", f"this is nested more than {MAX_DEPTH} levels deep", span)

    def _bad_key(self, span: Span) -> None:
        line = self.map.line(span.line + 1)
        if line[max(0, span.column - 1) :].startswith("{{") or line[span.column :].startswith("{{"):
            column = span.column if line[span.column :].startswith("{{") else span.column - 1
            self.found.append(unquoted_template(self.map, span.line, column))
        else:
            self._wrong("key-not-text", "a key must be text; this is a " +
                        ("mapping" if isinstance(span.children, dict) else "list"), span)

    def _close(self, event: Any) -> None:
        frame = self.frames.pop()
        frame.span.end_line, frame.span.end_column = event.end_mark.line, event.end_mark.column
        for value, key_span, span in frame.merges:
            self._merge(frame, value, key_span, span)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.data, frame.span, frame.size)
        parent = self.frames[-1] if self.frames else None
        if parent is not None and type(parent.data) is dict and not parent.keyed:
            parent.keyed = True  # it was a key, which has been reported; its value follows
            return
        self._add(frame.data, frame.span, frame.size)

    def _alias(self, event: Any) -> None:
        span = Span(event.start_mark, event.end_mark)
        known = self.anchors.get(event.anchor)
        if known is None:
            if any(frame.anchor == event.anchor for frame in self.frames):
                self._wrong("alias", f"the alias *{event.anchor} stands inside its own anchor", span)
            else:
                hint = did_you_mean(event.anchor, self.anchors)
                self._wrong("alias", f"the alias *{event.anchor} has no anchor &{event.anchor} before it", span,
                            hint or "a text that starts with * must be quoted")
            known = (None, span, 1)
        value, where, size = known
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            self._wrong("alias-explosion",
                        f"the aliases up to here repeat more than {MAX_ALIASED:,} values", span)
            return
        frame = self.frames[-1] if self.frames else None
        if frame is not None and type(frame.data) is dict and not frame.keyed:
            if not isinstance(value, str):
                self._wrong("key-not-text", f"a key must be text; *{event.anchor} is not", span)
                value = ""
            frame.key, frame.key_span, frame.keyed, frame.bad = value, span, True, value in frame.data
            if value in frame.data:
                self._wrong("duplicate-key", f"the key '{value}' stands here a second time", span)
            return
        self._add(value, where, size)

    def _add(self, value: Any, span: Span, size: int) -> None:
        if not self.frames:
            self.result = (value, span)
            return
        frame = self.frames[-1]
        frame.size += size
        data, children = frame.data, frame.span.children
        if isinstance(data, list):
            data.append(value)
            children.append(span)  # type: ignore[union-attr]
            return
        frame.keyed = False
        assert frame.key_span is not None  # noqa: S101 - a value in a mapping follows a key
        if frame.bad:
            return
        if frame.key is None:
            frame.merges.append((value, frame.key_span, span))
        else:
            data[frame.key] = value
            children[frame.key] = (frame.key_span, span)  # type: ignore[call-overload,index]

    def _merge(self, frame: _Frame, value: Any, key_span: Span, span: Span) -> None:
        """YAML 1.1's merge key: the keys of a mapping, or of several, that the mapping does not have itself."""
        data: Any = frame.data
        children: Any = frame.span.children
        several = isinstance(value, list) and isinstance(span.children, list)
        for one, where in zip(value, span.children or (), strict=True) if several else ((value, span),):
            if not isinstance(one, dict) or not isinstance(where, Span) or not isinstance(where.children, dict):
                self._wrong("merge-key", "'<<' takes a mapping or a list of mappings", key_span)
                return
            for key, item in one.items():
                if key not in data:
                    data[key] = item
                    children[key] = where.children[key]
