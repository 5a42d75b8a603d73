"""From a plan's text to a Document."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.language.types import LANGUAGE
from ultraplan.language.document import OnFailure, Scope, Strategy
from ultraplan.language.errors import SourceError
from ultraplan.language.values import Duration
from ultraplan.shell import Account

EVERYTHING = """\
plan: rollout
description: All of it
objectives: {rto: 15m, rpo: 0s}
inputs:
  version: {type: string, description: Release, pattern: '[0-9.]+'}
  replicas: {type: integer, default: 2, choices: [1, 2]}
  token: {secret: true, default: {secret: env:TOKEN}}
vars: {root: "/opt/{{ inputs.version }}", key: {secret: file:/k}}
hosts: [web, "!drained"]
serial: [1, 50%]
strategy: free
max_fail_percentage: 25%
max_unreachable_percentage: 10
rollback: {scope: batch}
on_failure: stop
become: true
environment: {LANG: C, PW: {secret: env:PW}}
steps:
  - id: migrate
    name: Migrate {{ inputs.version }}
    command: "migrate {{ inputs.version }}"
    undo: {command: migrate back, timeout: 1m, become: {user: db}}
    needs: []
    when: [inputs.replicas > 1, true]
    loop: "{{ vars.list | default([1]) }}"
    retries: 3
    delay: 2s
    until: steps.migrate.outputs.exit == 0
    timeout: 1h30m
    tags: a, b
    become: {user: app}
    run_once: true
    environment: {A: 1}
    no_log: true
    vars: {x: 1}
    confirm: 60s
    on_failure: continue
  - id: group
    on_failure: rollback
    block:
      - id: one
        file: {path: "{{ vars.root }}/x", mode: "0640"}
    rescue:
      - {id: two, command: date, reads_only: true}
    always:
      - {id: three, command: rm x, irreversible: it is gone, on_failure: stop}
  - id: other
    include: {plan: other.yaml, inputs: {version: "{{ inputs.version }}"}}
    needs: group
    tags: [x]
"""


def test_every_keyword_arrives_in_the_document() -> None:
    document = LANGUAGE.parse(EVERYTHING, "plans/rollout.yaml")
    assert (document.name, document.path, document.hosts) == ("rollout", "plans/rollout.yaml", "web:!drained")
    assert document.objectives == {"rto": Duration(900), "rpo": Duration(0)}
    assert document.serial == (1, "50%")
    assert document.strategy is Strategy.FREE
    assert (document.max_fail_percentage, document.max_unreachable_percentage) == (25.0, 10.0)
    assert document.rollback_scope is Scope.BATCH
    assert document.become is True
    assert document.references == {"env:TOKEN", "file:/k", "env:PW"}
    assert [step.id for step in document.walk()] == ["migrate", "group", "one", "two", "three", "other"]

    version, replicas, token = document.inputs.values()
    assert (version.required, version.type, version.pattern) == (True, "string", "[0-9.]+")
    assert (replicas.required, replicas.default, replicas.choices) == (False, 2, (1, 2))
    assert token.secret

    migrate, group, other = document.steps
    assert (migrate.type, migrate.params) == ("command", "migrate {{ inputs.version }}")
    assert (migrate.needs, migrate.when) == ((), ("inputs.replicas > 1", "true"))
    assert (migrate.retries, migrate.delay, migrate.timeout) == (3, Duration(2), Duration(5400))
    assert (migrate.tags, migrate.become, migrate.confirm) == (("a", "b"), Account("app"), Duration(60))
    assert migrate.run_once and migrate.no_log
    assert migrate.undo is not None
    assert (migrate.undo.id, migrate.undo.type, migrate.undo.become) == ("migrate.undo", "command", Account("db"))
    assert migrate.undo.timeout == Duration(60)
    assert migrate.origin.at("undo", "command").line == 22
    assert (group.type, list(group.children)) == ("block", ["block", "rescue", "always"])
    assert group.needs is None
    assert (other.type, other.needs, other.tags) == ("include", ("group",), ("x",))


def test_steps_take_on_failure_from_what_is_around_them() -> None:
    found = {step.id: step.on_failure for step in LANGUAGE.parse(EVERYTHING, "f.yaml").walk()}
    assert found == {"migrate": OnFailure.CONTINUE, "group": OnFailure.ROLLBACK, "one": OnFailure.ROLLBACK,
                     "two": OnFailure.ROLLBACK, "three": OnFailure.STOP, "other": OnFailure.STOP}


def test_the_defaults_are_the_documented_ones() -> None:
    document = LANGUAGE.parse("plan: p\nsteps:\n  - {id: a, file: {path: /x}}\n", "f.yaml")
    step = document.steps[0]
    assert (document.hosts, document.serial, document.strategy) == ("all", (), Strategy.LINEAR)
    assert (document.rollback_scope, document.on_failure, document.become) == (Scope.RUN, OnFailure.ROLLBACK, None)
    assert (step.needs, step.retries, step.delay, step.timeout) == (None, 0, Duration(5), None)
    assert step.on_failure is OnFailure.ROLLBACK


def test_a_file_is_read_from_disk_or_by_the_given_reader(tmp_path: Path) -> None:
    text = "plan: p\nsteps:\n  - {id: a, file: {path: /x}}\n"
    (tmp_path / "p.yaml").write_text(text)
    assert LANGUAGE.load(tmp_path / "p.yaml").name == "p"
    assert LANGUAGE.load("git:p.yaml", lambda path: text.encode()).path == "git:p.yaml"
    with pytest.raises(SourceError, match="cannot read"):
        LANGUAGE.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("params", [
    'file: {path: "{{ vars.x }}", mode: "{{ vars.m }}", keep: "{{ vars.k }}", backup: "{{ vars.b }}"}',
    'file: {path: /x, content: {secret: env:X}}',
    'file: {path: /x, content: null}',
    'file: {path: /x, lines: "{{ vars.list }}"}',
    "assert: [1 == 1, vars.x is defined]",
    "assert: unknown | default(true)",
    "assert: {that: inputs is defined}",
])
def test_what_may_be_a_template_or_a_secret_is_accepted(params: str) -> None:
    LANGUAGE.parse(f"plan: p\nsteps:\n  - id: a\n    {params}\n", "f.yaml")


def test_a_mistake_is_shown_with_its_line_a_caret_and_what_was_meant() -> None:
    with pytest.raises(SourceError) as caught:
        LANGUAGE.parse("plan: p\nsteps:\n  - id: a\n    fil: {path: /x}\n", "plans/p.yaml")
    assert str(caught.value) == (
        "plans/p.yaml:4:5: error: there is no step type 'fil'\n"
        "  4 |     fil: {path: /x}\n"
        "    |     ^^^\n"
        "  = did you mean 'file'?")


def test_a_thousand_steps_are_read_in_seconds() -> None:
    step = "  - id: s{0}\n    file: {{path: /x/{0}, content: 'a {{{{ vars.v{0} }}}}'}}\n"
    steps = "".join(step.format(number) for number in range(1000))
    assert len(LANGUAGE.parse(f"plan: p\nsteps:\n{steps}", "f.yaml").steps) == 1000
