"""Expressions: types, strictness, bounds, unknown values, and the names they use."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from ultraplan.language.examining import check, references
from ultraplan.language.expressions import (
    ExpressionError,
    Unknown,
    UnknownValue,
    Variables,
    evaluate,
    render,
    render_text,
    truth,
)
from ultraplan.language.values import Duration
from ultraplan.secrets import marker

NAMES: dict[str, Any] = {
    "inputs": {"version": "1.2", "count": 3, "flag": True, "keys": "K", "password": marker("env:PW")},
    "vars": {"list": [1, 2], "text": "it's", "map": {"b": 1, "a": None}},
    "steps": {"a": {"outputs": {"x": Unknown("a"), "y": "known"}, "changed": True}},
}


@pytest.mark.parametrize(("text", "value"), [
    ("{{ inputs.count }}", 3),
    ("{{ inputs.flag }}", True),
    ("{{ vars.list }}", [1, 2]),
    ("{{ none }}", None),
    ("{{ {'a': [1, none, true]} }}", {"a": [1, None, True]}),
    ("{{ range(3) }}", [0, 1, 2]),
    ("{{ vars.list | map('string') }}", ["1", "2"]),
    ("{{ vars.map.keys() | sort }}", ["a", "b"]),
    ("{{ '15m' | duration }}", Duration(900)),
    ("{{inputs.count}}", 3),
    ("v{{ inputs.count }}", "v3"),
    (" {{ inputs.count }}", " 3"),
    ("{{ inputs.flag }}/{{ none }}/{{ vars.list }}", "true//[1, 2]"),
    ("{{ vars.map }}!", '{"b": 1, "a": null}!'),
    ("{{ inputs.count }}\n", "3\n"),
    ("a\r\n{{ inputs.count }}\r\n", "a\r\n3\r\n"),
    ("{{ inputs.keys }}", "K"),
    ("{% for x in vars.list %}{{ x }},{% endfor %}", "1,2,"),
    ("echo ${#name} {# {{ inputs.count }}", "echo ${#name} {# 3"),
    ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ("{{ inputs.nothing | default('d') }}", "d"),
    ("{{ nothing.at.all is defined }}", None),
    ("{{ vars.text | quote }}", "'it'\\''s'"),
    ("{{ ['a b', '$(x)'] | quote }}", "'a b' '$(x)'"),
    ("{{ 'ä' | b64encode }}", "w6Q="),
    ("{{ 'w6Q=' | b64decode }}", "ä"),
    ("{{ vars.map | to_json }}", '{"b": 1, "a": null}'),
    ("{{ vars.map | to_yaml }}", "b: 1\na: null\n"),
    ("{{ '[1, {}]' | from_json }}", [1, {}]),
    ("{{ '/a/b.c' | basename }} {{ '/a/b.c' | dirname }}", "b.c /a"),
    ("{{ 'a1b22' | regex_replace('([0-9]+)', '<\\\\1>') }}", "a<1>b<22>"),
    ("{{ 'v1.2' | regex_search('[0-9.]+') }}", "1.2"),
    ("{{ 'v1.2' | regex_search('(.)[.](.)', '\\\\1', '\\\\2') }}", ["1", "2"]),
    ("{{ 'x' | regex_search('y') }}", None),
    ("{{ 'Yes' | bool }}", True),
    ("{{ '<a>' | e }}", "&lt;a&gt;"),
    ("{{ true ~ 1 ~ none }}", "true1"),
    ("{{ [true, none, 'x'] | join('-') }}", "true--x"),
    ("plain } text {", "plain } text {"),
    ({"k{{ 1 }}": ["{{ 1 + 1 }}", {"secret": "env:X"}, 5, None]}, {"k{{ 1 }}": [2, marker("env:X"), 5, None]}),
])
def test_rendering_keeps_types_and_prints_sanely(text: Any, value: Any) -> None:
    if text == "{{ nothing.at.all is defined }}":
        with pytest.raises(ExpressionError, match="'nothing' is not defined"):
            render(text, NAMES)
        return
    rendered = render(text, NAMES)
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(("text", "words"), [
    ("{{ inputs.verson }}", "'inputs.verson' is not defined; did you mean 'version'?"),
    ("{{ version }}", "did you mean 'inputs.version'?"),
    ("{{ text }}", "did you mean 'vars.text'?"),
    ("a {{ inputs.x.y }}", "'inputs.x' is not defined"),
    ("{{ 1 / 0 }}", "division by zero"),
    ("{{ inputs.count + 'a' }}", "unsupported operand"),
    ("{{ inputs.version.upper }}", "which is not a value"),
    ("{{ 'x' | bool }}", "neither true nor false"),
    ("{{ 'x' | regex_search('(') }}", "unterminated subpattern"),
    ("{{ 'x' | duration }}", "is not a duration"),
    ("{{ '%%%' | b64decode }}", "base64"),
    ("{{ x | nofilter }}", "there is no filter 'nofilter'"),
    ("{{ 1 + }}", "unexpected"),
    ("{% include 'x' %}", "has no meaning here"),
    ("a\r{{ 1 }}\n", "mix CR and LF"),
    ("{{ cycler }}", "not a value"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself without end"),
])
def test_what_cannot_be_rendered_is_explained(text: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        render({"a": [text]}, NAMES)
    assert words in str(caught.value)
    assert caught.value.path == ("a", 0)


@pytest.mark.parametrize("text", [
    "{{ ''.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ {}.__init__ }}", "{{ [] | attr('__class__') }}",
    "{{ ''['__class__'] }}", "{{ cycler.__init__.__globals__ }}", "{{ self.__init__ }}", "{{ 'a'.format }}",
    "{{ '{0.__class__}'.format(1) }}", "{{ vars.list.append(1) }}", "{{ vars.map.update({}) }}",
    "{{ vars.map.clear() }}", "{{ lipsum }}", "{{ [1, 2] | random }}", "{{ inputs.pop('version') }}",
    "{{ range.__self__ }}", "{{ ().__class__.__bases__ }}", "{{ joiner().__init__.__globals__ }}",
])
def test_nothing_leads_out_of_the_sandbox(text: str) -> None:
    with pytest.raises(ExpressionError):
        render(text, copy.deepcopy({key: NAMES[key] for key in ("inputs", "vars")}))


@pytest.mark.parametrize("text", [
    "{{ 'a' * 10**8 }}", "{{ [0] * 10**8 }}", "{{ 10**10000000 }}", "{{ 9**9**9**9**9 }}", "{{ range(10**9) | list }}",
    "{{ 'a'.ljust(10**10) }}", "{{ 'a' | center(10**10) }}", "{{ 'a' | indent(10**10) }}", "{{ '%1000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}", "{{ '%09999999d' | format(1) }}", "{{ '{:>1000000000}'.format(1) }}",
    "{{ [1] | batch(10**9, 0) | list }}", "{{ {} | to_json(indent=10**9) }}",
    "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}", "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6) | regex_replace('a', 'b' * 10**4) }}", "{{ (['a'] * 10**5) | join('b' * 10**5) }}",
    "{{ ('b' * 10**5).join(['a'] * 10**5) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
    "{% set x = 'ab' %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
    "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "{% set x = [1] %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x == 1 }}",
    "{% set x = 'ab' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60 + "{{ x }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "{{ (((" * 400,
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "-" * 20000 + "1 }}",
])
def test_no_expression_eats_the_machine(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ExpressionError):
        render(text, NAMES)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("text", [
    "{{ u }}", "a {{ u }}", "{{ u.x }}", "{{ u['x'] }}", "{{ u() }}", "{{ u + 1 }}", "{{ 1 - u }}", "{{ 'a' ~ u }}",
    "{{ u == 1 }}", "{{ 1 == u }}", "{{ not u }}", "{{ u and 1 }}", "{{ 1 and u }}", "{{ u | default(1) }}",
    "{{ u is defined }}", "{{ u is none }}", "{{ u | length }}", "{{ u | to_json }}", "{{ [u] }}", "{{ {'a': u} }}",
    "{{ [u] | join }}", "{% for x in u %}{% endfor %}", "{% if u %}{% endif %}", "{{ 1 if u else 2 }}", "{{ -u }}",
    "{{ u in [1] }}", "{{ 1 in u }}", "{{ range(u) }}", "{{ 'x'.join([u]) }}", "{{ holder }}", "{{ holder | string }}",
    "{{ u < 3 }}", "{{ u % 2 }}", "{{ '%s' % u }}", "{{ '%s' | format(u) }}", "{{ vars.list[u] }}", "{{ u | quote }}",
])
def test_any_use_of_an_unknown_value_says_which_step_it_waits_for(text: str) -> None:
    unknown = Unknown("migrate")
    with pytest.raises(UnknownValue) as caught:
        render({"k": text}, {**NAMES, "u": unknown, "holder": {"deep": [unknown]}})
    assert caught.value.steps == frozenset({"migrate"})


def test_an_unknown_value_that_is_not_used_does_no_harm() -> None:
    assert render("{{ steps.a.outputs.y }} {{ steps.a.changed }}", NAMES) == "known true"
    assert repr(Unknown("a")) == "Unknown('a')"
    assert isinstance(copy.copy(Unknown("a")), Unknown)
    with pytest.raises(UnknownValue):
        render([Unknown("a")], {})


@pytest.mark.parametrize("text", ["{{ p }}", "x{{ p }}y", "{{ p | quote }}", "{{ [p] | join(',') }}",
                                  "{{ {'a': p} | to_json }}", "{{ p | default('') }}", "{{ p ~ '' }}",
                                  "{{ {'a': p} | to_yaml }}"])
def test_secrets_pass_through_whole(text: str) -> None:
    assert marker("env:PW") in str(render(text, {"p": marker("env:PW")}))


@pytest.mark.parametrize("text", ["{{ p | upper }}", "{{ p | b64encode }}", "{{ p.upper() }}", "{{ p[0] }}",
                                  "{{ p[1:3] }}", "{{ p | length }}", "{{ p | replace('e', 'x') }}",
                                  "{{ p | truncate(3) }}", "{{ [p] | map('upper') | list }}",
                                  "{{ p | regex_search('.') }}", "{{ p | int }}"])
def test_what_would_need_a_secrets_value_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="secret's value is not known here"):
        render(text, {"p": marker("env:PW")})


@pytest.mark.parametrize(("expression", "value"), [
    ("inputs.flag", True), ("{{ inputs.flag }}", True), (" {{ inputs.flag }} ", True), ("inputs.count > 2", True),
    ("not inputs.flag", False), ("inputs.version == '1.2' and 2 in vars.list", True), ("nothing is defined", False),
    ("inputs.count\n  == 3", True), ("vars.list | length > 5", False), ("true", True),
])
def test_conditions_need_no_braces(expression: str, value: bool) -> None:
    assert truth(expression, NAMES) is value


@pytest.mark.parametrize(("expression", "words"), [
    ("inputs.count", "gives a int, not true or false"), ("'false'", "the text 'false'"), ("none", "gives nothing"),
    ("", "ends too early"), ("a b", "more than one expression"), ("inputs.x == 1", "'inputs.x' is not defined"),
    ("{{ inputs.flag }} {{ inputs.flag }}", "expected"),
])
def test_conditions_are_true_or_false_and_nothing_else(expression: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        truth(expression, NAMES)


def test_expressions_give_any_value() -> None:
    assert evaluate("vars.list + [3]", NAMES) == [1, 2, 3]


@pytest.mark.parametrize(("text", "names"), [
    ("{{ steps.a.outputs.x }}", {("steps", "a", "outputs", "x")}),
    ("{{ steps['my-id'].outputs['x'] }}", {("steps", "my-id", "outputs", "x")}),
    ("{{ steps.a.outputs[inputs.k].z }}", {("steps", "a", "outputs"), ("inputs", "k")}),
    ("{{ vars.list[0].x }}", {("vars", "list", "0", "x")}),
    ("{{ inputs.name.upper() }}", {("inputs", "name")}),
    ("{{ inputs.a | default(vars.b) }}", {("inputs", "a"), ("vars", "b")}),
    ("{% for x in vars.xs if x.ok and inputs.q %}{{ x.a }}{{ loop.index }}{% else %}{{ x.c }}{% endfor %}{{ x.b }}",
     {("vars", "xs"), ("inputs", "q"), ("x", "b"), ("x", "c")}),
    ("{% for k, v in vars.m.items() %}{{ k }}{{ v.z }}{% endfor %}", {("vars", "m")}),
    ("{% set q = vars.r %}{{ q.f }}", {("vars", "r")}),
    ("{{ q }}{% set q = 1 %}", {("q",)}),
    ("{% set q %}{{ host.name }}{% endset %}{{ q }}", {("host", "name")}),
    ("{% macro m(z, y=vars.d) %}{{ z }}{{ y }}{{ host.name }}{{ varargs }}{% endmacro %}{{ m(run.id) }}",
     {("vars", "d"), ("host", "name"), ("run", "id")}),
    ("{% with a = inputs.b %}{{ a }}{% endwith %}{{ a }}", {("inputs", "b"), ("a",)}),
    ("{% if steps.a.changed %}{% set z = 1 %}{% endif %}", {("steps", "a", "changed")}),
    ("{{ range(3) }}{{ dict(a=inputs.b) }}", {("inputs", "b")}),
    ("{% filter upper %}{{ vars.x }}{% endfilter %}", {("vars", "x")}),
    ("{{ [vars.a, {'k': vars.b}] }}{{ vars.c ~ vars.d }}", {("vars", x) for x in "abcd"}),
    ("no template", set()),
    ("{{ broken", set()),
    ({"secret": "env:{{ x }}"}, set()),
    ({"a": ["{{ vars.a }}"], "b": {"{{ vars.key }}": 1}}, {("vars", "a")}),
])
def test_references_are_the_names_that_a_text_does_not_bind_itself(text: Any, names: set[tuple[str, ...]]) -> None:
    assert references(text) == names


def test_references_of_conditions_and_of_what_must_be_there() -> None:
    assert references("steps.a.changed and x", bare=True) == {("steps", "a", "changed"), ("x",)}
    assert references("{{ steps.a.changed }}", bare=True) == {("steps", "a", "changed")}
    assert references("vars.a is defined and vars.a.b == vars.c", bare=True, needed=True) == {("vars", "c")}


def test_syntax_errors_are_found_all_with_line_and_column() -> None:
    faults = check({"a": "x {{ 1 + }}\n y {{ 2 | nope }}", "b": ["fine {{ 1 }}", "{% if 1 %}"]})
    assert sorted((one.path, one.line, one.column) for one in faults) == [
        (("a",), 1, 3), (("a",), 2, 4), (("b", 1), 1, 1)]
    assert [one.column for one in check("a ==", bare=True)] == [1]


def test_template_files_keep_their_last_newline_and_may_have_comments() -> None:
    text = "{# about #}\nname={{ inputs.version }}\n{% for x in vars.list %}\nx={{ x }}\n{% endfor %}\nend\n"
    assert render_text(text, NAMES, "t.j2") == "name=1.2\nx=1\nx=2\nend\n"
    assert render_text("no template\n", NAMES, "t.j2") == "no template\n"


@pytest.mark.parametrize(("text", "line"), [
    ("a\n\n{{ inputs.zz }}\n", 3), ("a\n{% if 1 %}\n{{ 1 / 0 }}\n{% endif %}", 3), ("a\n{{ | }}\n", 2),
    ("{{ 1 }}\n{% for x in inputs.flag %}\n{% endfor %}\n", 2),
])
def test_errors_in_template_files_carry_the_templates_line(text: str, line: int) -> None:
    with pytest.raises(ExpressionError, match=rf"^t\.j2:{line}: ") as caught:
        render_text(text, NAMES, "t.j2")
    assert caught.value.line == line


class TestVariables:
    def test_later_layers_win_and_values_are_rendered_on_use(self) -> None:
        layers = [{"a": "{{ vars.b }}!", "b": 1, "bad": "{{ nothing }}"}, {"b": "{{ inputs.version }}"}]
        variables = Variables(layers, NAMES)
        assert variables["a"] == "1.2!"
        assert set(variables) == {"a", "b", "bad"}
        assert "bad" in variables

    def test_a_circle_is_told_as_a_chain(self) -> None:
        variables = Variables([{"a": "{{ vars.b }}", "b": "x{{ vars.c }}", "c": "{{ vars.a }}"}], {})
        with pytest.raises(ExpressionError, match="these variables need each other: a → b → c → a"):
            variables["a"]

    def test_an_error_names_the_variable_and_leaves_the_others_alone(self) -> None:
        variables = Variables([{"a": "{{ vars.zz }}", "b": 2}], {})
        with pytest.raises(ExpressionError, match=r"in vars\.a: 'vars.zz' is not defined"):
            variables["a"]
        assert variables["b"] == 2

    def test_unknown_values_stay_unknown_and_are_asked_again(self) -> None:
        names = {"steps": {"a": Unknown("a")}}
        variables = Variables([{"x": "{{ steps.a.outputs.y }}"}], names)
        with pytest.raises(UnknownValue):
            variables["x"]
        names["steps"]["a"] = {"outputs": {"y": 5}}  # type: ignore[assignment]
        assert variables["x"] == 5

    def test_missing_ones_are_undefined_in_expressions(self) -> None:
        names = {"vars": Variables([{"port": 80}], {})}
        with pytest.raises(ExpressionError, match="did you mean 'port'"):
            render("{{ vars.prt }}", names)
        assert render("{{ vars.prt | default(1) }}", names) == 1
