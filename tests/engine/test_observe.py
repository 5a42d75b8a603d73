"""What a preview promises: known where nothing earlier in the plan can change it, and not more than that."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.here import Here

CASES = yaml.safe_load((Path(__file__).parent / "observe.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_a_preview_promises_what_it_can_keep(case: dict[str, Any], tmp_path: Path) -> None:
    for name, text in case.get("files", {}).items():
        (tmp_path / name).write_text(text)
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    found = Here(tmp_path).told(case["steps"], case.get("head", ""))
    assert {name: text.replace(str(tmp_path), "HERE") for name, text in found.items()} == case["told"]
    made = {path for path in tmp_path.rglob("*") if path not in before} - {tmp_path / "plan.yaml", tmp_path / "hosts"}
    assert made == set(), "a preview leaves nothing anywhere"


def test_the_point_of_no_return_is_the_first_irreversible_step_that_would_run(tmp_path: Path) -> None:
    plan = Here(tmp_path).plan("""
  - id: one
    when: ["false"]
    command: {run: "true"}
    irreversible: it is gone
  - id: two
    command: {run: "true"}
    irreversible: it is gone, too
  - id: three
    command: {run: "true"}
    irreversible: as well
""")
    assert plan.no_return == "two"
    assert any("after two there is no way back (it is gone, too)" in line for line in plan.warnings)


@pytest.mark.parametrize(("needs", "warned"), [("", False), ("needs: []", True)])
def test_a_point_of_no_return_is_warned_of_unless_a_verified_backup_comes_before_it(
        tmp_path: Path, needs: str, warned: bool) -> None:
    plan = Here(tmp_path).plan(f"""
  - id: safe
    backup_verify: {{set: data, store: HERE/store, keys: [HERE/keys]}}
  - id: gone
    {needs}
    command: {{run: "true"}}
    irreversible: it is gone
""")
    assert ("no verified backup comes before gone" in plan.warnings) is warned


def test_hosts_that_are_down_at_once_are_counted_per_batch(tmp_path: Path) -> None:
    steps = "  - id: f\n    file: {path: HERE/f, content: x}\n"
    for head, most in (("serial: 10", 3), ("serial: 2", 2), ("serial: 1", 1)):
        plan = Here(tmp_path, "a b c").plan(steps, head)
        assert plan.most_down == 0
        down = {key: dataclasses.replace(one, down=("service:x",)) for key, one in plan.predictions.items()}
        assert dataclasses.replace(plan, predictions=down).most_down == most


def test_an_unreachable_host_is_told_and_predicts_nothing(tmp_path: Path) -> None:
    here = Here(tmp_path)
    (tmp_path / "hosts").write_text(
        f"localhost ansible_connection=local ultraplan_state_dir={tmp_path}/host\n"
        "gone ansible_host=127.0.0.1 ansible_port=1\n")
    plan = here.plan("  - id: f\n    file: {path: HERE/f, content: x}\n", "hosts: all")
    assert list(plan.unreachable) == ["gone"]
    assert list(plan.predictions) == [("f", "localhost")]


def test_the_summary_counts_each_kind_once(tmp_path: Path) -> None:
    (tmp_path / "same").write_text("x")
    (tmp_path / "same").chmod(0o644)
    plan = Here(tmp_path).plan("""
  - id: same
    file: {path: HERE/same, content: x, mode: "0644"}
  - id: new
    file: {path: HERE/new, content: x}
  - id: never
    when: ["false"]
    file: {path: HERE/never, content: x}
""")
    assert plan.summary == "1 to change, 1 unchanged, 1 skipped, on 1 host"
    assert plan.has_changes
