"""Ansible and ultraplan make the same of the same inventories and patterns: groups, members, order, variables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.inventory import generate
from tests.peers import Peer
from ultraplan.inventory import Inventory, PatternError, as_graph, as_list, load_inventory, match

Write = Callable[[Mapping[str, str]], Path]
Pattern = tuple[str, str | None]

_FILE = Path(__file__).with_name("agreement.yaml")
WRITTEN: dict[str, dict[str, Any]] = {case["name"]: case for case in yaml.safe_load(_FILE.read_text(encoding="utf-8"))}
GENERATED = range(170)
COMMANDS = ("variables of all levels, the last word is the host's", "YAML anchors and merge keys",
            "INI host variables are Python literals after shell words", "an executable source with _meta",
            "a directory of inventories in name order, with what Ansible ignores", "patterns on a fleet")


def sources_of(case: Mapping[str, Any]) -> list[str]:
    """The sources that a written case names, or its files outside group_vars and host_vars."""
    return case.get("sources") or sorted(name for name in case["files"] if not {"group_vars", "host_vars"} & set(
        Path(name).parts))


def located(sources: list[str], folder: Path) -> list[str]:
    """``sources`` with paths made absolute; inline lists as they are."""
    return [source if "," in source else str(folder / source) for source in sources]


def patterns_of(case: Mapping[str, Any], folder: Path) -> list[Pattern]:
    """The patterns of a written case; @LIMIT is a file."""
    (folder / "limit.txt").write_text("web2\n\n  web3 \nstaging\n")
    pairs = [(pattern, None) if isinstance(pattern, str) else (pattern[0], pattern[1]) for pattern in case["patterns"]]
    return [(pattern, limit and limit.replace("@LIMIT", f"@{folder / 'limit.txt'}")) for pattern, limit in pairs]


def chosen(inventory: Inventory, pattern: str, limit: str | None) -> list[str] | None:
    """Our answer to a pattern in Ansible's terms: None where it is refused."""
    try:
        return list(match(inventory, pattern, limit, strict=False))
    except PatternError:
        return None


def compare(ansible: Peer, sources: list[str], patterns: list[Pattern]) -> None:
    """Both load ``sources``: the listing, the graph, and the hosts of every pattern are the same."""
    theirs = ansible.ask("inventory", sources=sources, patterns=patterns)
    inventory = load_inventory(sources)
    ours = json.loads(json.dumps(as_list(inventory)))
    theirs["list"]["_meta"].pop("profile", None)
    assert ours == theirs["list"]
    assert json.dumps(ours, sort_keys=True) == json.dumps(theirs["list"], sort_keys=True)  # 1 is not True here
    assert as_graph(inventory) == theirs["graph"]
    assert [(pattern, chosen(inventory, *pattern)) for pattern in patterns] == list(
        zip(patterns, theirs["hosts"], strict=True))


@pytest.mark.parametrize("name", WRITTEN)
def test_written_cases_agree(name: str, ansible: Peer, write: Write) -> None:
    folder = write(WRITTEN[name]["files"])
    compare(ansible, located(sources_of(WRITTEN[name]), folder), patterns_of(WRITTEN[name], folder))


@pytest.mark.parametrize("seed", GENERATED)
def test_generated_cases_agree(seed: int, ansible: Peer, write: Write) -> None:
    files, sources, patterns = generate.case(seed)
    compare(ansible, located(sources, write(files)), patterns)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_say_what_their_classes_say(name: str, ansible: Peer, peers: Path, write: Write,
                                                 ansible_environ: dict[str, str]) -> None:
    case = WRITTEN[name]
    folder = write(case["files"])
    sources = located(sources_of(case), folder)
    given = [word for source in sources for word in ("-i", source)]
    patterns = patterns_of(case, folder)[:2]
    theirs = ansible.ask("inventory", sources=sources, patterns=patterns)

    def run(*words: str | Path) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True, env=ansible_environ, timeout=60,
                              cwd=ansible_environ["HOME"]).stdout

    assert json.loads(run(peers / "ansible-inventory", *given, "--list")) == theirs["list"]
    pattern, limit = patterns[-1]
    listed = run(peers / "ansible", pattern, *given, *(["--limit", limit] if limit else []), "--list-hosts")
    assert sorted(line.strip() for line in listed.splitlines()[1:]) == sorted(theirs["hosts"][-1])


def test_there_are_at_least_two_hundred_cases() -> None:
    assert len(WRITTEN) + len(GENERATED) >= 200


def test_generated_inventories_are_not_trivial() -> None:
    """A generator that made nothing would agree with everything."""
    made = [generate.case(seed) for seed in GENERATED]
    texts = ["\n".join(files.values()) for files, _, _ in made]
    for feature in ("ansible_group_priority", ":children]", ":vars]", "children:", "[01:03]", "same", '\t"'):
        assert sum(feature in text for text in texts) >= 5, feature
    assert sum(any("group_vars" in name for name in files) for files, _, _ in made) > 50
    assert sum(limit is not None for _, _, patterns in made for _, limit in patterns) > 100
