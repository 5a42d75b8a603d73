"""What holds for every graph: order, bridging, batches, tags; and that compiling scales."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.world import LANGUAGE, TYPES, compile_text, inventory
from ultraplan.graph.compile import compile_plan
from ultraplan.graph.selection import batches, selected
from ultraplan.language.errors import SourceError


@st.composite
def dags(draw: st.DrawFn) -> list[tuple[str, list[str] | None, bool]]:
    """Steps (id, needs, tagged) whose needs have no circle, in any order of text."""
    count = draw(st.integers(1, 12))
    ranked = [f"s{n}" for n in range(count)]
    steps: list[tuple[str, list[str] | None, bool]] = [
        (name, draw(st.lists(st.sampled_from(ranked[:rank]), unique=True, max_size=4)) if rank else [],
         draw(st.booleans()))
        for rank, name in enumerate(ranked)]
    return draw(st.permutations(steps))


def text(steps: list[tuple[str, list[str] | None, bool]]) -> str:
    rows = ["plan: p", "steps:"]
    for name, needs, tagged in steps:
        rows.append(f"  - {{id: {name}, do: 1{'' if needs is None else f', needs: {needs}'}"
                    f"{', tags: [t]' if tagged else ''}}}".replace("'", ""))
    return "\n".join(rows) + "\n"


@settings(max_examples=60, deadline=None)
@given(dags())
def test_every_step_comes_after_what_it_waits_for(steps: list[tuple[str, list[str] | None, bool]]) -> None:
    graph = compile_text(text(steps))
    assert sorted(graph.nodes) == sorted(name for name, _, _ in steps)
    seen: set[str] = set()
    for node in graph.nodes.values():
        assert set(node.needs) <= seen
        seen.add(node.id)
    for name, needs, _ in steps:
        assert set(graph.nodes[name].needs) == set(needs or ())


@settings(max_examples=60, deadline=None)
@given(dags())
def test_the_order_keeps_to_the_text_where_it_can(steps: list[tuple[str, list[str] | None, bool]]) -> None:
    order = list(compile_text(text(steps)).nodes)
    place = {name: index for index, (name, _, _) in enumerate(steps)}
    needs = {name: set(needs or ()) for name, needs, _ in steps}
    done: set[str] = set()
    for name in order:
        ready = [other for other in place if other not in done and needs[other] <= done]
        assert name == min(ready, key=place.__getitem__)
        done.add(name)


@settings(max_examples=80, deadline=None)
@given(dags())
def test_leaving_steps_out_keeps_who_comes_after_whom(steps: list[tuple[str, list[str] | None, bool]]) -> None:
    whole = nx.transitive_closure_dag(compile_text(text(steps)).dag())
    kept = {name for name, _, tagged in steps if tagged}
    if not kept:
        return
    part = nx.transitive_closure_dag(compile_text(text(steps), tags=["t"]).dag())
    assert set(part.nodes) == kept
    assert set(part.edges) == {(a, b) for a, b in whole.edges if a in kept and b in kept}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=16))
def test_a_circle_is_reported_exactly_where_there_is_one(edges: list[tuple[int, int]]) -> None:
    needs: dict[int, set[int]] = {n: set() for n in range(8)}
    for a, b in edges:
        if a != b:
            needs[a].add(b)
    graph = nx.DiGraph((b, a) for a, many in needs.items() for b in many)
    plan = text([(f"s{n}", [f"s{m}" for m in sorted(many)], False) for n, many in needs.items()])
    if nx.is_directed_acyclic_graph(graph):
        compile_text(plan)
        return
    with pytest.raises(SourceError) as refused:
        compile_text(plan)
    knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
    assert len(refused.value.diagnostics) == len(knots)
    for one in refused.value.diagnostics:
        assert one.code == "cycle"
        words = one.message.replace(":", " ").split()
        path = [int(word[1:]) for word in words if word[0] == "s" and word[1:].isdigit()]
        assert path[0] == path[-1]
        assert all(b in needs[a] for a, b in pairwise(path)), "each really waits for the next"


@given(st.integers(0, 200), st.lists(st.one_of(
    st.integers(1, 50), st.integers(1, 100).map("{}%".format)), max_size=4))
def test_batches_are_the_hosts_cut_without_loss(count: int, serial: list[int | str]) -> None:
    hosts = [f"h{n}" for n in range(count)]
    cut = batches(hosts, serial)
    assert [host for batch in cut for host in batch] == hosts
    assert all(cut)
    sizes = [max(1, count * int(one[:-1]) // 100) if isinstance(one, str) else one for one in serial] or [count]
    for index, batch in enumerate(cut[:-1]):
        assert len(batch) == sizes[min(index, len(sizes) - 1)]


@pytest.mark.parametrize(("tags", "only", "skip", "wanted"), [
    # as ansible.playbook.taggable.Taggable.evaluate_tags decides
    ([], [], [], True), (["never"], [], [], False), (["never", "x"], ["x"], [], True), (["never"], ["never"], [], True),
    (["always"], ["x"], [], True), (["always"], ["x"], ["always"], False), (["always", "x"], [], ["x"], False),
    (["never"], ["all"], [], False), (["never", "always"], [], [], True), (["x"], ["tagged"], [], True),
    ([], ["tagged"], [], False), (["never"], ["tagged"], [], False), ([], ["untagged"], [], True),
    (["x"], ["untagged"], [], False), (["x"], [], ["tagged"], False), ([], [], ["tagged"], True),
    ([], [], ["untagged"], False), (["x"], [], ["all"], False), (["always"], [], ["all"], True),
    (["always"], [], ["all", "always"], False), (["x"], ["y"], [], False), (["x", "y"], ["y"], ["x"], False),
])
def test_tags_select_as_in_ansible(tags: list[str], only: list[str], skip: list[str], wanted: bool) -> None:
    assert selected(tags, only, skip) is wanted


def test_compiling_grows_with_the_plan_and_not_faster() -> None:
    def seconds(count: int) -> float:
        chance = random.Random(1)
        rows = ["plan: p", "steps:"]
        for n in range(count):
            needs = f", needs: [s{chance.randrange(max(0, n - 50), n)}]" if n and n % 3 == 0 else ""
            rows.append(f"  - {{id: s{n}, do: \"{{{{ vars.port }}}}\"{needs}}}")
        document = LANGUAGE.parse("\n".join(rows), "plan.yaml")
        hosts = inventory()
        began = time.process_time()
        graph = compile_plan(document, hosts, {}, step_types=TYPES, load=LANGUAGE.load)
        took = time.process_time() - began
        assert len(graph.nodes) == count
        return took

    seconds(50)
    small, large = max(seconds(500), 0.01), seconds(4000)
    assert large < small * 8 * 4, f"8 times the steps took {large / small:.0f} times as long"


def test_a_loop_of_ten_thousand_turns_is_one_chain() -> None:
    graph = compile_text("plan: p\nsteps:\n  - {id: a, loop: '{{ range(10000) | list }}', do: 1}\n  - {id: z, do: 1}\n")
    assert graph.nodes["z"].needs == ("a[9999]",)
    assert graph.nodes["a[5000]"].needs == ("a[4999]",)


def test_includes_that_multiply_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultraplan.graph.expand.MAX_NODES", 5000)
    files = {f"{n}.yaml": "plan: p\nsteps:\n" + "".join(
        f"  - {{id: s{i}, include: {{plan: {n + 1}.yaml}}}}\n" for i in range(9)) for n in range(9)}
    files["9.yaml"] = "plan: p\nsteps: [{id: a, loop: '{{ range(1000) | list }}', do: 1}]\n"
    with pytest.raises(SourceError, match=r"more than \d+ steps"):
        compile_text("plan: p\nsteps: [{id: x, include: {plan: 0.yaml}}]\n", files)
