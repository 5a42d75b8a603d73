"""Each file of malformed/ says in its first lines what is wrong with it, all of it, and nothing else is found:

#! CODE LINE:COLUMN words of the message or hint
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.language.types import LANGUAGE
from ultraplan.language.errors import SourceError

CASES = sorted((Path(__file__).parent / "malformed").glob("*.yaml"))
EXPECTED = re.compile(rb"^#! (\S+) (\d+):(\d+) (.+)$", re.MULTILINE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_mistake_is_found_where_it_stands_and_explained(case: Path) -> None:
    wanted = [(code.decode(), int(line), int(column), words.decode())
              for code, line, column, words in EXPECTED.findall(case.read_bytes())]
    with pytest.raises(SourceError) as caught:
        LANGUAGE.load(case)
    found = caught.value.diagnostics
    assert [(one.code, one.at and one.at.line, one.at and one.at.column) for one in found] == \
        [(code, line, column) for code, line, column, _ in wanted]
    for one, (_, _, _, words) in zip(found, wanted, strict=True):
        assert words in f"{one.message} {one.hint}"
        assert one.render() in str(caught.value)


def test_the_corpus_has_each_kind_of_mistake() -> None:
    assert len(CASES) >= 60
    codes = {code for case in CASES for code, *_ in EXPECTED.findall(case.read_bytes())}
    text = "".join(path.read_text() for name in ("source", "compose", "syntax", "problems", "checks", "plan")
                   for path in [Path(f"ultraplan/language/{name}.py")])
    assert {code.decode() for code in codes} <= set(re.findall(r'"([a-z0-9-]+)"', text))
    noted = re.findall(r'\b(?:_wrong|at|value|key|Diagnostic|_Meaning)\(\s*(?:r"[^"]*", )?"([a-z0-9-]+)"', text)
    missing = set(noted) - {code.decode() for code in codes}
    assert missing <= {"unreadable", "yaml", "yaml-after-end", "invalid"}, missing


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_plain_secret_is_never_repeated(case: Path) -> None:
    with pytest.raises(SourceError) as caught:
        LANGUAGE.load(case)
    assert "hunter2" not in str(caught.value)
