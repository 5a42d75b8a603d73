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
    ("file: {path: HERE/x, content: x}\n    confirm: 60s", 6, "'confirm' is not supported by this version"),
])
def test_what_cannot_work_is_told_with_its_place(tmp_path: Path, step: str, line: int, said: str) -> None:
    with pytest.raises(SourceError) as found, Here(tmp_path).job(f"  - id: a\n    {step}\n"):
        pass
    mistake, = found.value.diagnostics
    assert mistake.message == said
    assert mistake.at is not None
    assert mistake.at.line == line
