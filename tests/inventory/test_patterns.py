"""Patterns where ultraplan says more than Ansible: mistakes. What patterns mean is in test_agreement.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ultraplan.inventory import Inventory, PatternError, load_inventory, match
from ultraplan.inventory.patterns import split

Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def inventory(write: Write) -> Inventory:
    """Three web servers and a database."""
    return load_inventory([write({"hosts": "[web]\nweb[1:3]\n[db]\ndb1\n[empty]\n"}) / "hosts"])


@pytest.mark.parametrize(("pattern", "message", "hint"), [
    ("wbe", "'wbe' is no host and no group", "did you mean 'web'?"),
    ("web:!dbs", "'dbs' is no host and no group", "did you mean 'db'?"),
    ("web:&dbb[0]", "'dbb[0]' is no host and no group", "did you mean 'db'?"),
    ("zzzzzz", "'zzzzzz' is no host and no group", "ultraplan inventory list"),
    ("web[3]", "'web[3]' counts beyond its 3 hosts", "[-1]"),
    ("web[-4]", "'web[-4]' counts beyond its 3 hosts", "[-1]"),
    ("~(web", "'~(web' is not a regular expression", None),
    ("", "the host pattern is empty", "'all'"),
    (" , ", "the host pattern is empty", "'all'"),
    ("web:!", "'&' and '!' need a pattern after them", None),
])
def test_mistakes_are_told(inventory: Inventory, pattern: str, message: str, hint: str | None) -> None:
    with pytest.raises(PatternError) as caught:
        match(inventory, pattern)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_globs_regular_expressions_and_empty_groups_may_match_nothing(inventory: Inventory) -> None:
    for pattern in ("x*", "~x", "empty", "empty[0]", "web:&empty"):
        assert match(inventory, pattern) == ()
    assert match(inventory, "web:!x*") == ("web1", "web2", "web3")


def test_unknown_names_mean_nothing_where_that_is_asked_for(inventory: Inventory) -> None:
    assert match(inventory, "wbe:web1", strict=False) == ("web1",)


def test_a_limit_chooses_among_the_hosts_and_keeps_their_order(inventory: Inventory) -> None:
    assert match(inventory, "web", "web3:web1") == ("web1", "web3")
    assert match(inventory, "web", "!web1") == ("web2", "web3")
    assert match(inventory, "web", "db") == ()


def test_a_limit_that_names_nothing_is_a_mistake(inventory: Inventory, tmp_path: Path) -> None:
    """Ansible takes an empty limit for no limit at all, and runs everywhere."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"\xff")
    for limit, why in ((f"@{tmp_path}/empty", "the limit is empty"), ("", "the limit is empty"), ("wbe", "no host"),
                       (f"@{tmp_path}/none", "No such file"), (f"@{tmp_path}/latin", "not UTF-8"),
                       (f"@{tmp_path}", "directory")):
        with pytest.raises(PatternError, match=why):
            match(inventory, "web", limit)


def test_a_limit_file_has_a_pattern_a_line(inventory: Inventory, tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("web1\n\n  db \n")
    assert match(inventory, "all", f"@{tmp_path}/limit") == ("web1", "db1")


def test_this_machine_is_met_by_its_name_only(inventory: Inventory) -> None:
    for name in ("localhost", "127.0.0.1", "::1"):
        assert match(inventory, name) == ("localhost",)
    assert "localhost" not in match(inventory, "all") + match(inventory, "*") + match(inventory, "~.*")


@pytest.mark.parametrize(("pattern", "parts"), [
    ("a:b", ["a", "b"]), ("a,b:c", ["a", "b:c"]), ("a[1:2]:!b", ["a[1:2]", "!b"]), ("2001:db8::1", ["2001:db8::1"]),
    ("~a:b", ["~a", "b"]), ("a : b", ["a", "b"]), ("web:80", ["web:80"]), ("", []), (" , ", []),
])
def test_patterns_are_split_at_commas_or_else_at_colons(pattern: str, parts: list[str]) -> None:
    assert split(pattern) == parts
