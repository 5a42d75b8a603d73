"""What the command line says of itself: suggestions for what does not exist, and a reference page that is current."""

from __future__ import annotations

import pytest

from tests.cli.program import ROOT, Program
from ultraplan.cli.main import VERBS, parser
from ultraplan.cli.reference import markdown


@pytest.mark.parametrize(("words", "meant"), [
    (["aplly"], "there is no verb 'aplly'; did you mean 'apply'?"),
    (["rollback", "--dryrun"], "ultraplan rollback: error: '--dryrun' is not understood; did you mean '--dry-run'?"),
    (["apply", "plan.yaml", "--yess"], "'--yess' is not understood; did you mean '--yes'?"),
    (["apply", "plan.yaml", "--limt=web"], "'--limt=web' is not understood; did you mean '--limit'?"),
    (["runs", "shwo"], "ultraplan runs: error: there is no 'shwo'; did you mean 'show'?"),
    (["runs", "show", "--jsno"], "'--jsno' is not understood; did you mean '--json'?"),
    (["resolve", "last", "a@b", "--as", "don"], "there is no 'don'; did you mean 'done'?"),
    (["completion", "bsh"], "there is no 'bsh'; did you mean 'bash'?"),
    (["resume", "last", "--qqqq"], "'--qqqq' is not understood\n"),
    (["resume", "one", "two"], "'two' is not understood\n"),
])
def test_what_does_not_exist_gets_the_nearest_that_does(up: Program, words: list[str], meant: str) -> None:
    done = up(*words, code=2)
    assert meant in done.stderr
    assert done.stdout == ""


def test_the_reference_page_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8") == markdown(), \
        "python -m ultraplan.cli.reference > docs/reference/cli.md"


def test_the_reference_page_has_every_verb_and_every_option() -> None:
    page = markdown()
    for verb in VERBS:
        assert f"\n## {verb}\n" in page
        below = parser(verb).below(verb)
        assert below is not None
        for option in set(below.options()) - {"--help"}:
            assert option in page, (verb, option)
