"""What is checked before any host is looked at, beyond the language itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.here import Here
from ultraplan.language.errors import SourceError


@pytest.mark.parametrize(("step", "line", "said"), [
    ("file: {path: HERE/x, template: nope.j2}", 5, "there is no nope.j2 beside the plan"),
    ("file: {path: HERE/x, source: gone}", 5, "there is no gone beside the plan"),
    ("copy: {path: HERE/x, source: files}", 5, "there is no files beside the plan"),
    ("unarchive: {dest: HERE/x, source: a.tar}", 5, "there is no a.tar beside the plan"),
    ("file: {path: HERE/x, content: x}\n    confirm: 500ms", 6, "500ms is too short to be confirmed"),
    ("file: {path: HERE/x, content: x}\n    confirm: 1m\n    timeout: 5m", 7,
     "after 1m (confirm) the host undoes the step, so it cannot take 5m"),
    ("command: date\n    confirm: 60s\n    reads_only: true", 6,
     "there is nothing to undo: the step changes nothing"),
    ("set_fact: {x: 1}\n    confirm: 60s", 6, "there is nothing to undo: the step changes nothing"),
    ("command: date\n    irreversible: why\n    confirm: 60s", 7,
     "there is nothing that the host could do by itself: the step is irreversible"),
    ("fetch: {path: /etc/hosts, to: HERE/x}\n    confirm: 60s", 6,
     "a host cannot undo fetch by itself: it acts from the controller"),
    ("command: date\n    undo: {file: {path: HERE/x, content: x}}\n    confirm: 60s", 6,
     "a host cannot run file by itself, which confirm needs of an undo"),
    ("command: date\n    undo: {command: date, become: {user: op}}\n    confirm: 60s", 6,
     "under confirm, an undo runs as the account that its step runs as"),
])
def test_what_cannot_work_is_told_with_its_place(tmp_path: Path, step: str, line: int, said: str) -> None:
    with pytest.raises(SourceError) as found, Here(tmp_path).job(f"  - id: a\n    {step}\n"):
        pass
    mistake, = found.value.diagnostics
    assert mistake.message == said
    assert mistake.at is not None
    assert mistake.at.line == line
