"""Random inventories and patterns, the same for the same seed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

import yaml

_HOSTS = ("web1", "web2", "web3", "db1", "db-2", "cache.example.com", "10.0.0.7", "edge_1", "lb[01:03]", "n[a:d:2].x",
          "r[0:2]s[1:2]", "2001:db8::7", "wöb", "same")
_GROUPS = ("web", "db", "prod", "staging", "eu-west", "zone.a", "cache", "legacy", "edge", "same", "g1", "g2")
_NAMES = ("port", "role", "ansible_host", "ansible_user", "flags", "limits", "note", "x")
_VALUES: tuple[Any, ...] = (1, 0, -7, 2.5, True, False, None, "plain", "with blank", "", "1", "yes", "0640", "it's",
                            'a"b', "a=b", "{{ other }}", "#no", "ünï", [1, "two", None], {"a": {"b": [1]}}, [], "1e3",
                            "None")


@dataclass
class Tree:
    """What an inventory source says."""

    hosts: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    vars: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)


def tree(random: Random, order: list[str]) -> Tree:
    """A source: some groups, with children only among those that come later in ``order``, so that there is no cycle."""
    made = Tree(groups=random.sample(_GROUPS, random.randint(2, 8)))
    ranks = sorted(made.groups, key=order.index)
    for at, group in enumerate(ranks):
        below = ranks[at + 1:]
        if below and random.random() < 0.6:
            made.children[group] = random.sample(below, random.randint(1, min(3, len(below))))
    for group in [*made.groups, *(["ungrouped"] if random.random() < 0.3 else [])]:
        if random.random() < 0.7:
            made.hosts[group] = {host: variables(random, 0.3) for host in random.sample(_HOSTS, random.randint(1, 4))}
    for group in [*made.groups, "all"]:
        made.vars[group] = variables(random, 0.6)
        if group != "all" and random.random() < 0.25:
            made.vars[group]["ansible_group_priority"] = random.choice([1, 2, 5, 10])
    return made


def variables(random: Random, chance: float) -> dict[str, Any]:
    """Some variables, or none."""
    if random.random() > chance:
        return {}
    return {name: random.choice(_VALUES) for name in random.sample(_NAMES, random.randint(1, 4))}


def as_ini(made: Tree, random: Random) -> str:
    """The INI text of a tree. Every group is declared; the sections come in a random order."""
    sections = [[f"[{group}]", *(_host_line(host, given) for host, given in made.hosts.get(group, {}).items())]
                for group in [*made.groups, *(["ungrouped"] if "ungrouped" in made.hosts else [])]]
    sections += [[f"[{group}:children]", *children] for group, children in made.children.items()]
    sections += [[f"[{group}:vars]", *(f"{name} = {_ini(value)}" for name, value in given.items())]
                 for group, given in made.vars.items() if given]
    random.shuffle(sections)
    loose = [_host_line(host, {}) for host in random.sample(_HOSTS, random.randint(0, 2))]
    return "\n".join(["# generated", *loose, *("\n".join(section) + "\n" for section in sections)])


def _host_line(host: str, given: dict[str, Any]) -> str:
    words = [host, *(f"{name}={_quoted(_ini(value))}" for name, value in given.items())]
    return " ".join(words)


def _ini(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def as_yaml(made: Tree, random: Random) -> str:
    """The YAML text of a tree, each group defined at the top or under its first parent."""
    inside = {child for children in made.children.values() for child in children}
    done: set[str] = set()

    def body(group: str) -> dict[str, Any] | None:
        if group in done:
            return None
        done.add(group)
        parts: dict[str, Any] = {
            "vars": made.vars.get(group) or None,
            "hosts": {host: given or None for host, given in made.hosts.get(group, {}).items()},
            "children": {child: body(child) for child in made.children.get(group, [])},
        }
        kept = [name for name, part in parts.items() if part or random.random() < 0.1]
        return {name: parts[name] or None for name in random.sample(kept, len(kept))} or None

    top = [group for group in made.groups if group not in inside]
    if random.random() < 0.5:
        data: dict[str, Any] = {"all": {"children": {group: body(group) for group in top}, "vars": made.vars["all"]}}
    else:
        data = {group: body(group) for group in top} | {"all": {"vars": made.vars["all"]}}
    if "ungrouped" in made.hosts:
        data["ungrouped"] = body("ungrouped")
    if random.random() < 0.2:
        return json.dumps(data, indent=random.choice(["\t", 2, None]))
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=random.choice([False, None]))


def case(seed: int) -> tuple[dict[str, str], list[str], list[tuple[str, str | None]]]:
    """Files by name, the sources among them (in order), and patterns with limits."""
    random = Random(seed)
    files: dict[str, str] = {}
    sources = []
    names: list[str] = []
    order = random.sample(_GROUPS, len(_GROUPS))
    for number in range(random.choice([1, 1, 1, 2])):
        made = tree(random, order)
        names += made.groups
        folder = random.choice(["", f"inv{number}/"])
        if random.random() < 0.5:
            source = f"{folder}hosts{number}{random.choice(['', '.ini'])}"
            files[source] = as_ini(made, random)
        else:
            source = f"{folder}hosts{number}{random.choice(['.yml', '.yaml', ''])}"
            files[source] = as_yaml(made, random)
        sources.append(folder.rstrip("/") if folder and random.random() < 0.5 else source)
        for group in random.sample([*made.groups, "all", "ungrouped"], random.randint(0, 3)):
            _add(files, f"{folder}group_vars/{group}", random)
        for host in random.sample(["web1", "db-2", "cache.example.com", "lb01", "na.x", "same"], random.randint(0, 2)):
            _add(files, f"{folder}host_vars/{host}", random)
    return files, sources, [(pattern(random, names), pattern(random, names) if random.random() < 0.2 else None)
                            for _ in range(12)]


def _add(files: dict[str, str], stem: str, random: Random) -> None:
    made = _vars_files(stem, random)
    if not any(name.startswith(stem) for name in files):  # a file and a directory cannot have the same name
        files |= made


def _vars_files(stem: str, random: Random) -> dict[str, str]:
    given = variables(random, 1.0)
    if random.random() < 0.25:
        more = variables(random, 1.0)
        return {f"{stem}/b.yml": yaml.safe_dump(given), f"{stem}/a.yaml": yaml.safe_dump(more),
                f"{stem}/.c.yml": "x: hidden", f"{stem}/d/e.json": json.dumps(variables(random, 1.0)),
                f"{stem}/z.txt": "x: ignored"}
    ending = random.choice(["", ".yml", ".yaml", ".json"])
    text = json.dumps(given) if ending == ".json" else yaml.safe_dump(given, allow_unicode=True)
    return {stem + ending: text}


def pattern(random: Random, groups: list[str]) -> str:
    """A host pattern of one to four parts."""
    parts = []
    for _ in range(random.randint(1, 4)):
        part = random.choice([*groups, *groups, "all", "*", "web*", "*1", "lb0?", "[wl]*", "~^(web|lb)", "~.*e", "web1",
                              "same", "lb02", "10.0.0.7", "ungrouped", "nowhere", "cache.example.com", "wöb",
                              "*.example.com"])
        if part[0] != "~" and random.random() < 0.3:
            part += random.choice(["[0]", "[-1]", "[1]", "[0:1]", "[1:]", "[0:0]", "[2:9]", "[0-1]", "[-2]"])
        parts.append(random.choice(["", "", "", "&", "!"]) + part)
    return random.choice([":", ",", ", "]).join(parts)
