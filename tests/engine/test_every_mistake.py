"""A plan with one mistake of each kind, in the plan, an included plan, a template, the inventory and the inputs: all of
them are told in one go, in file order, each once, and nothing that only follows from another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.here import Here
from ultraplan.engine.job import Request, compile_job
from ultraplan.engine.settings import find_settings
from ultraplan.language.errors import Diagnostic, SourceError
from ultraplan.language.inputs import examine_extra

PLAN = """\
plan: many
hosts: web
inputs:
  version: {type: integer}
  size: {type: sise}
vars:
  a: "{{ vars.b }}"
  b: "{{ vars.a }}"
  uses_a: "{{ vars.a }}"
retry: 3
steps:
  - id: one
    file: {path: etc/x, content: "{{ inputs.versoin }}", mode: 640}
  - id: two
    needs: [onne]
    comand: echo
  - id: three
    command: "echo {{ steps.two.outputs.x | uper }}"
    irreversible: it says something
  - id: four
    file: {path: /etc/y, template: t.j2}
  - id: five
    file: {path: /etc/z, template: gone.j2}
  - id: six
    include: {plan: other.yaml, inputs: {x: 1}}
  - id: seven
    loop: "{{ inputs.version }}"
    copy: {source: nowhere, path: /x}
  - id: eight
    file: {path: /etc/a, content: {{ inputs.size }}}
  - id: nine
    needs: [eight]
    file: {path: /etc/b, content: "{{ steps.eight.status }}", mode: "{{ inputs.size }}"}
"""

TEMPLATE = """\
{# {{ not read | }} #}
{{ inputs.nope }}
{% for x in inputs.list | default([]) %}{{ x | foo }}{% endfor %}
{{ hots.name }} {{ steps.tow.status }} {{ facts.osname }}
"""

OTHER = """\
plan: other
inputs: {y: {}}
steps:
  - id: a
    needs: [b]
    file: {path: /x, contents: x}
  - id: b
    needs: [a]
    file: {path: "/{{ host.nam }}", content: "{{ inputs.y }}"}
"""

INVENTORY = """\
[web]
w1 ansible_connection=local
[web:vars]
not a variable
"""

EXPECTED = """\
hosts.ini:4:1 expected-variable
other.yaml:5:5 cycle
other.yaml:6:11 step-params
other.yaml:6:22 unknown-key
other.yaml:9:23 unknown-name
plan.yaml:4:3 input
plan.yaml:5:16 choice
plan.yaml:8:10 cycle
plan.yaml:10:1 unknown-key
plan.yaml:13:18 absolute-path
plan.yaml:13:38 unknown-name
plan.yaml:13:64 mode
plan.yaml:15:13 unknown-step
plan.yaml:16:5 unknown-step-type
plan.yaml:18:20 expression
plan.yaml:23:36 missing-file
plan.yaml:25:41 missing-input
plan.yaml:25:41 unknown-input
plan.yaml:28:20 missing-file
plan.yaml:30:35 unquoted-template
t.j2:2:4 unknown-name
t.j2:3:41 expression
t.j2:4:4 unknown-name
t.j2:4:20 unknown-step
t.j2:4:43 unknown-name
- unknown-tag
- input
- unknown-input
"""


def told(folder: Path, *extra: str, **options: Any) -> list[Diagnostic]:
    """What is said of the plan in ``folder``."""
    settings = find_settings(folder, {"HOME": str(folder)}, str(folder / "state"))
    given, wrong = examine_extra(extra)
    request = Request(plan=str(folder / "plan.yaml"), inventory=(str(folder / "hosts.ini"),), given=given, **options)
    with pytest.raises(SourceError) as caught:
        compile_job(request, settings, mistakes=wrong).close()
    return list(caught.value.diagnostics)


def short(folder: Path, found: list[Diagnostic]) -> list[str]:
    return [f"{str(one.at).removeprefix(f'{folder}/') if one.at else '-'} {one.code}" for one in found]


def test_one_mistake_of_each_kind_all_at_once(tmp_path: Path) -> None:
    for name, text in {"plan.yaml": PLAN, "t.j2": TEMPLATE, "other.yaml": OTHER, "hosts.ini": INVENTORY}.items():
        (tmp_path / name).write_text(text)
    found = told(tmp_path, "version=abc", "foo=1", "=3", tags=("nobody",))
    assert short(tmp_path, found) == EXPECTED.splitlines()
    for one in found:
        assert one.at is None or one.line is None or one.line in Path(one.at.file).read_text().splitlines()


@pytest.mark.parametrize(("plan", "expected"), [
    # A wrong pattern of hosts says nothing about variables, groups and what stands in included plans.
    ("hosts: wbe\nsteps:\n- {id: a, command: 'echo {{ vars.x }} {{ groups.web }}', reads_only: true}\n"
     "- {id: b, include: {plan: sub.yaml}}\n", ["plan.yaml:2:8 hosts", "sub.yaml:2:30 unknown-name"]),
    # A step without a usable id may be the one that others wait for.
    ("steps:\n- {command: date, reads_only: true}\n- {id: b, needs: [a], command: 'date {{ steps.a.changed }}', "
     "reads_only: true}\n- {id: c, needs: [c], command: date, reads_only: true}\n",
     ["plan.yaml:3:3 missing-key", "plan.yaml:5:19 needs-itself"]),
    # A condition that cannot be read may have asked for what the step uses.
    ("steps:\n- {id: a, when: 'steps.z is defnd', command: 'echo {{ steps.z.changed }}', reads_only: true}\n",
     ["plan.yaml:3:18 expression"]),
    # Variables that are no mapping have any name.
    ("vars: [x]\nsteps:\n- {id: a, command: 'echo {{ vars.x }} {{ inputs.i }}', reads_only: true}\n",
     ["plan.yaml:2:7 type", "plan.yaml:4:42 unknown-name"]),
    # A loop over what is not known yet says nothing, and its step's own mistakes are told.
    ("inputs: {n: {type: list}}\nsteps:\n- {id: a, loop: '{{ inputs.n }}', command: 'echo {{ itm }}', "
     "reads_only: true}\n", ["plan.yaml:2:10 missing-input", "plan.yaml:4:53 unknown-name"]),
    # An undo's files are looked at like any other.
    ("steps:\n- {id: a, command: date, undo: {file: {path: /x, template: nope.j2}}}\n",
     ["plan.yaml:3:60 missing-file"]),
    # The names of files may be made of what is known.
    ("inputs: {n: {default: x}}\nsteps:\n- {id: a, loop: [y, z], file: {path: /x, "
     "template: '{{ inputs.n }}{{ item }}.j2'}}\n", ["plan.yaml:4:52 missing-file", "plan.yaml:4:52 missing-file"]),
    # Circles of variables are circles where a step's own variable closes them, too.
    ("vars: {a: '{{ vars.b }}', b: x}\nsteps:\n- {id: a, vars: {b: '{{ vars.a }}'}, command: date, reads_only: true}\n",
     ["plan.yaml:4:25 cycle"]),
    ("vars: {a: '{{ vars.a }}'}\nsteps:\n- {id: a, command: date, reads_only: true}\n", ["plan.yaml:2:15 cycle"]),
])
def test_what_follows_from_a_mistake_is_not_told(tmp_path: Path, plan: str, expected: list[str]) -> None:
    (tmp_path / "plan.yaml").write_text(f"plan: p\n{plan}")
    (tmp_path / "sub.yaml").write_text("plan: s\nsteps: [{id: a, command: '{{ hst }}', reads_only: true}]\n")
    (tmp_path / "hosts.ini").write_text("[web]\nw1 ansible_connection=local\n")
    assert short(tmp_path, told(tmp_path)) == expected


def test_connection_variables_that_cannot_be_used_are_told_once_for_all_their_hosts(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("plan: p\nsteps: [{id: a, comand: x}]\n")
    (tmp_path / "hosts.ini").write_text("w[1:9] ansible_connection=telnet\n")
    first, second = told(tmp_path)
    assert first.code == "unknown-step-type"
    assert "w1, w2, w3 and 6 more: ansible_connection: 'telnet' is not supported" in second.message


def test_a_template_that_uses_a_result_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_text("{{ steps.b.outputs.stdout }}")
    steps = ("  - {id: a, needs: [], file: {path: HERE/x, template: t.j2}}\n"
             "  - {id: b, needs: [], command: date, reads_only: true}\n")
    with Here(tmp_path).job(steps) as job:
        assert job.graph.nodes["a"].needs == ("b",)
        assert job.graph.nodes["a"].reads == {"b"}


def test_templates_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_bytes(b"\xff")
    with pytest.raises(SourceError) as caught, Here(tmp_path).job("  - {id: a, file: {path: /x, template: t.j2}}\n"):
        pass
    assert [one.code for one in caught.value.diagnostics] == ["not-utf-8"]
