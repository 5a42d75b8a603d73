"""What is said of a text without running it holds when it is compiled and run; the quick reading of plain names says
what Jinja's parser says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultraplan.language.compiling import expression, parsed, template
from ultraplan.language.examining import ExpressionError, Kind, examined

PIECES = st.sampled_from([
    "{{", "}}", "{%", "%}", "{#", "#}", "{", "}", " ", "\n", "\r\n", "a", "inputs.version", "a.b.c", "vars.x", "not",
    "is",
    "in", "if", "else", "true", "None", "range", "self", "loop", "1", ".5", ".", "_x", "é", "'q'", "|upper", "| nope",
    "is defined", "is odder", "(", ")", "[0]", "['k']", "a if b else c", "for x in a", "endfor", "set y = a", "endif",
    "raw", "endraw", "~", "+", "f(a=1, a=2)", "{{ inputs.a }}", "{{a}}", "{{ a.b.c }}", "{{ not }}", "{{ a b }}", "-",
    "$", "{{ a[12] }}", "{{ a + 12 }}", "{{ b12 - 3.5 }}", "12 ",
    "{{ x | default(1) }}", "text",
    "{{- a -}}", "{{ a.items }}", "{{ dict }}", "{{ dict.x }}", "((((((((((", "9" * 30,
])
TEXTS = st.lists(PIECES, max_size=6).map("".join)
KINDS: list[Kind] = ["value", "file", "bare"]


@given(TEXTS, st.sampled_from(KINDS))
@settings(max_examples=1500, deadline=None)
def test_the_quick_reading_says_what_the_parser_says(text: str, kind: Kind) -> None:
    quick, thorough = examined(text, kind), parsed(text, kind)
    assert (quick.names, quick.asked, str(quick.error)) == (thorough.names, thorough.asked, str(thorough.error))


@given(TEXTS, st.sampled_from(KINDS))
@settings(max_examples=800, deadline=None)
def test_what_has_no_mistake_compiles_and_what_does_not_compile_has_one(text: str, kind: Kind) -> None:
    try:
        expression(text) if kind == "bare" else template(text, kind == "file")
    except ExpressionError as error:
        assert str(examined(text, kind).error) == str(error)
    else:
        assert examined(text, kind).error is None


@pytest.mark.parametrize("text", [
    "{{ f(a=1, a=2) }}", "{{ " + "(" * 300 + "a" + ")" * 300 + " }}", "{{ " + " + ".join("a" * 400) + " }}",
    "{{ " + "9" * 5000 + " }}", "{{ " + "not " * 2000 + "a }}", "{% for a in b %}" * 30 + "{% endfor %}" * 30,
    "{% if x %}{{ x | nope }}{% endif %}", "{{ a if b else c is nope }}",
])
def test_what_cannot_be_compiled_is_a_mistake_and_no_crash(text: str) -> None:
    assert isinstance(examined(text, "value").error, ExpressionError)
    with pytest.raises(ExpressionError):
        template(text, False)
