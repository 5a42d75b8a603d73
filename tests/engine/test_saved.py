"""Saved plans: a document that says the same each time, holds no secret, and knows when it is stale."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.engine.here import Here
from ultraplan.engine import saved
from ultraplan.engine.plan import Action, Plan, fingerprint
from ultraplan.engine.runs import digests, preview

STEPS = """
  - id: file
    file: {path: HERE/a, content: "{{ vars.word }}\\n"}
  - id: line
    lineinfile: {path: HERE/names, line: "b"}
"""


@pytest.fixture
def here(tmp_path: Path) -> Here:
    (tmp_path / "names").write_text("a\n")
    return Here(tmp_path)


def _saved(here: Here, steps: str = STEPS, head: str = "vars: {word: hello}") -> tuple[saved.SavedPlan, Plan]:
    with here.job(steps, head) as job:
        plan = preview(job)
        saved.save(plan, job, here.folder / "x.plan")
        return saved.load(here.folder / "x.plan"), plan


def test_the_document_is_the_same_each_time_but_for_the_run_and_the_clock(here: Here) -> None:
    texts = []
    for _ in range(2):
        with here.job(STEPS, "vars: {word: hello}") as job:
            document = saved.document(preview(job), job)
            assert (document.pop("format"), document.pop("version")) == ("ultraplan/plan", 1)
            assert document.pop("created") > 0
            assert document.pop("run")["id"] == job.name.id
            texts.append(json.dumps(document))
    assert texts[0] == texts[1]


def test_the_document_has_a_diff_a_way_back_and_a_fingerprint_for_each_change(here: Here) -> None:
    with here.job(STEPS, "vars: {word: hello}") as job:
        operations = saved.document(preview(job), job)["operations"]
    assert [(one["node"], one["host"], one["action"], one["certainty"]) for one in operations] == [
        ("file", "localhost", "change", "known"), ("line", "localhost", "change", "known")]
    for one in operations:
        assert one["diff"]
        assert one["way_back"]
        assert len(one["before"]) == 64


def test_no_secret_is_in_it_and_only_its_owner_reads_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOP", "s3cr3t-value")
    _saved(here, """
  - id: file
    file: {path: HERE/a, content: {secret: env:TOP}}
""", "")
    path = here.folder / "x.plan"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "s3cr3t-value" not in path.read_text()


def test_saving_over_a_plan_replaces_it_whole(here: Here) -> None:
    (here.folder / "x.plan").write_text("old")
    (here.folder / "x.plan").chmod(0o644)
    _saved(here)
    assert (here.folder / "x.plan").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in here.folder.iterdir() if ".plan" in path.name] == ["x.plan"]


def test_what_was_loaded_is_what_was_saved(here: Here) -> None:
    loaded, plan = _saved(here)
    assert loaded.name.id == plan.run
    assert loaded.digests == plan.digests
    assert set(loaded.operations) == set(plan.predictions)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "other", "version": 1}',
                                  '{"format": "ultraplan/plan", "version": 1}', "plan: x\n", "null", "\ud800"])
def test_anything_else_is_not_a_saved_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(saved.NotASavedPlan):
        saved.load(tmp_path / "x.plan")


def test_a_later_version_is_named(here: Here) -> None:
    _saved(here)
    path = here.folder / "x.plan"
    path.write_text(path.read_text().replace('"version": 1', '"version": 99', 1))
    with pytest.raises(saved.NotASavedPlan, match="99"):
        saved.load(path)


def test_nothing_moved_is_not_stale(here: Here) -> None:
    loaded, _ = _saved(here)
    with here.job(STEPS, "vars: {word: hello}") as job:
        again = preview(job)
        saved.check_sources(loaded, digests(job))
        saved.check_hosts(loaded, again)


def test_a_changed_plan_file_and_inventory_are_named(here: Here) -> None:
    loaded, _ = _saved(here)
    (here.folder / "hosts").write_text((here.folder / "hosts").read_text().strip() + " color=red\n")
    with here.job(STEPS, "vars: {word: other}") as job, pytest.raises(saved.Stale) as stale:
        preview(job)
        saved.check_sources(loaded, digests(job))
    assert stale.value.moved == [f"{here.folder}/plan.yaml changed", "the inventory changed"]


def test_what_moved_on_a_host_is_named(here: Here) -> None:
    loaded, _ = _saved(here)
    (here.folder / "names").write_text("a\nb\n")
    (here.folder / "a").write_text("something\n")
    with here.job(STEPS, "vars: {word: hello}") as job, pytest.raises(saved.Stale) as stale:
        saved.check_hosts(loaded, preview(job))
    assert stale.value.moved == ["file on localhost: its state moved",
                                 "line on localhost: change then, nothing now"]


def test_operations_and_hosts_that_come_or_go_are_named(here: Here) -> None:
    loaded, plan = _saved(here)
    (key, one), *rest = plan.predictions.items()
    fewer = dataclasses.replace(plan, predictions=dict(rest))
    with pytest.raises(saved.Stale, match="file on localhost is gone"):
        saved.check_hosts(loaded, fewer)
    more = dataclasses.replace(plan, predictions={**plan.predictions, ("new", "localhost"): one})
    with pytest.raises(saved.Stale, match="new on localhost is new"):
        saved.check_hosts(loaded, more)
    away = dataclasses.replace(plan, predictions={}, unreachable={"localhost": "timed out"})
    with pytest.raises(saved.Stale) as stale:
        saved.check_hosts(loaded, away)
    assert stale.value.moved == ["localhost cannot be reached any more: timed out"]
    assert key == ("file", "localhost")


def test_a_prediction_that_became_another_is_named(here: Here) -> None:
    loaded, plan = _saved(here)
    key, one = next(iter(plan.predictions.items()))
    moved = dataclasses.replace(plan, predictions={**plan.predictions, key: dataclasses.replace(
        one, action=Action.IMPOSSIBLE)})
    with pytest.raises(saved.Stale, match="change then, impossible now"):
        saved.check_hosts(loaded, moved)


def test_fingerprints_tell_facts_apart_and_nothing_else() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert fingerprint({"a": None}) != fingerprint({})
    assert len({fingerprint({"name": name}) for name in ("é", "e\u0301", "\udcff", "")}) == 4
