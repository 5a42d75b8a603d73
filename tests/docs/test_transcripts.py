"""A page that is wrong is found out; otherwise the tests of the pages would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.transcripts import Player, matches


@pytest.mark.parametrize(("shown", "printed", "same"), [
    (["a", "b"], ["a", "b"], True),
    (["a", "b"], ["a", "c"], False),
    (["a"], ["a", "b"], False),
    (["a", "b"], ["a"], False),
    (["a", "…", "z"], ["a", "b", "c", "z"], True),
    (["a", "…", "z"], ["a", "z"], True),
    (["a", "…", "z"], ["a", "b"], False),
    (["size … B"], ["size 12 B"], True),
    (["size … B"], ["size 12 kB of it"], False),
    (["run 20260101-000000-abcd, 0.4 s"], ["run 20271231-235959-0123, 17.0 s"], True),
    (["run 20260101-000000-abcd"], ["run 20260101"], False),
    (["00:00:01  closed: succeeded"], ["23:59:59  closed: failed"], False),
    (["a.c"], ["abc"], False),
    ([], ["anything"], False),
    (["a"], ["a", "", ""], True),
])
def test_lines_are_compared_by_form_where_they_vary_and_exactly_elsewhere(
        shown: list[str], printed: list[str], same: bool) -> None:
    assert matches(shown, printed) is same


def test_a_page_is_played_in_order_and_its_mistakes_are_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```yaml files/a.yaml\nkey: value\n```\n\n```console\n$ cat files/a.yaml\nkey: value\n$ false\n"
        "$ echo $?\n1\n```\n"
        "\n```sh\nexit 1\n```\n\n```console\n$ echo one \\\n  two\none two\n$ echo right\nwrong\n```\n")
    wrong = Player(tmp_path, {}).play(page)
    assert len(wrong) == 1
    assert wrong[0].startswith("page.md:21: $ echo right\nshown:\nwrong\nprinted:\nright")
