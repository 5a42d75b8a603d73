"""A graph as text, DOT and Mermaid, also where names are hostile."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from tests.graph.world import TYPES, compile_text
from ultraplan.graph.model import Graph
from ultraplan.graph.render import declared_way_back, to_dot, to_mermaid, to_text, ways_back

_PLAN = """\
plan: roll out
hosts: web
serial: [1, 100%]
steps:
  - {id: look, claim: 1 == 1}
  - id: change
    block:
      - {id: stop, do: 1}
      - {id: config, do: "{{ steps.look.status }}", when: vars.port == 80}
    rescue:
      - {id: back, do: 1, irreversible: the old data is gone}
  - {id: tell, needs: [], do: 1, run_once: true}
"""


@pytest.fixture
def graph() -> Graph:
    return compile_text(_PLAN)


def test_the_text_has_a_line_for_each_step_and_says_what_is_not_obvious(graph: Graph) -> None:
    assert to_text(graph, ways_back(TYPES)) == """\
roll out: 5 steps on 4 hosts in 2 batches (1, 3)
  · look      claim
    block of change
  ↺   stop    do
  ↺   config  do     after look, stop; uses look; when vars.port == 80
    rescue of change
  ✗   back    do     no way back: the old data is gone
  ↺ tell      do     waits for nothing; once, on web1
↺ can be undone  · changes nothing  ✗ cannot be undone
"""


def test_without_step_types_only_what_the_plan_says_is_marked(graph: Graph) -> None:
    marks = {node.id: declared_way_back(node) for node in graph.nodes.values()}
    assert marks == {"look": "", "stop": "", "config": "", "back": "irreversible", "tell": ""}


def test_dot_has_every_node_and_edge_and_a_cluster_for_each_part(graph: Graph) -> None:
    dot = to_dot(graph, ways_back(TYPES))
    edges = {tuple(re.findall(r'"([^"]*)"', line)) for line in dot.splitlines() if "->" in line}
    assert edges == set(graph.dag().edges)
    assert dot.count("subgraph cluster_") == 2
    assert '"look" -> "config" [style=bold];' in dot
    assert dot.count("{") == dot.count("}")


def test_mermaid_has_every_node_and_edge(graph: Graph) -> None:
    mermaid = to_mermaid(graph, ways_back(TYPES))
    label = dict(re.findall(r'^ *(n\d+)\["([^<"]*)', mermaid, re.MULTILINE))
    edges = {(label[a], label[b]) for a, b in re.findall(r"^  (n\d+) [-=]+> (n\d+)$", mermaid, re.MULTILINE)}
    assert sorted(label.values()) == sorted(graph.nodes)
    assert edges == set(graph.dag().edges)
    assert len(re.findall(r"^ *subgraph ", mermaid, re.MULTILINE)) == len(re.findall(r"^ *end$", mermaid, re.MULTILINE))
    assert "class n3 irreversible" in mermaid


_HOSTILE = ['a"]; evil["', "a\nb", "a\\", "end", 'x"--> n0', "<script>", "a#quot;b", "é", "-rf", "%%{init}%%", "`b`"]


@pytest.mark.parametrize("name", _HOSTILE)
def test_names_stay_data(name: str, graph: Graph) -> None:
    nodes = {key.replace("stop", name): replace(node, id=node.id.replace("stop", name),
                                                needs=tuple(need.replace("stop", name) for need in node.needs))
             for key, node in graph.nodes.items()}
    odd = replace(graph, nodes=nodes, document=replace(graph.document, name=name))
    mermaid = to_mermaid(odd)
    assert len(mermaid.splitlines()) == len(to_mermaid(graph).splitlines())
    for line in mermaid.splitlines():
        assert line.count('"') in (0, 2)
        assert not re.search(r'"[^"]*[<>`%](?!br/>)[^"]*"', line.replace("<br/>", ""))
    dot = to_dot(odd)
    assert len(dot.splitlines()) == len(to_dot(graph).splitlines())
    for line in dot.splitlines():
        assert re.fullmatch(r'(?:[^"\\]|"(?:[^"\\]|\\.)*")*', line), line
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tdot"], input=dot, text=True, check=True, capture_output=True)
