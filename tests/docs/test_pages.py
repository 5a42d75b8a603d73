"""What the pages list is what there is: decisions, settings, variables, events, fields, plans."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from tests.docs.conftest import ROOT
from tests.docs.transcripts import Block, Player, blocks
from ultraplan.engine.plan import Action, Certainty
from ultraplan.engine.saved import VERSION
from ultraplan.engine.settings import KEYS
from ultraplan.inventory.load import load_inventory
from ultraplan.journal.events import AnyEvent
from ultraplan.language.plan import Language
from ultraplan.steps.params import schema
from ultraplan.steps.registry import registry

DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
PAGES = [page for page in sorted(DOCS.glob("**/*.md")) if page.parent != DECISIONS]
PLANS = [(page, block) for page in PAGES for block in blocks(page)
         if block.language == "yaml" and not block.name and re.search(r"^steps:", block.text, re.MULTILINE)]


def test_every_decision_is_in_the_index_and_under_its_number() -> None:
    index = (DECISIONS / "README.md").read_text()
    listed = re.findall(r"^\| (\d+) \| \[[^\]]+\]\(((\d{4})-[a-z0-9-]+\.md)\) \|$", index, re.MULTILINE)
    assert [int(number) for number, _, _ in listed] == [int(prefix) for _, _, prefix in listed]
    assert sorted(name for _, name, _ in listed) == sorted(page.name for page in DECISIONS.glob("[0-9]*.md"))


def test_every_page_is_in_the_index_of_the_documentation() -> None:
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*/*.md"):
        if page.parent != DECISIONS or page.name == "README.md":
            assert f"({page.relative_to(DOCS)})" in index, page


@pytest.mark.parametrize(("page", "block"), PLANS, ids=lambda one: one.name if isinstance(one, Path) else None)
def test_plans_on_pages_have_no_mistake(page: Path, block: Block, tmp_path: Path) -> None:
    head = "" if re.search(r"^plan:", block.text, re.MULTILINE) else "plan: page\n"
    (tmp_path / "plan.yaml").write_text(head + block.text)
    Language(registry(), schema).load(tmp_path / "plan.yaml")


def test_inventories_on_pages_have_no_mistake(tmp_path: Path) -> None:
    found = [block for page in PAGES for block in blocks(page)
             if block.language == "yaml" and block.text.startswith("all:")]
    assert found
    for block in found:
        (tmp_path / "inventory.yaml").write_text(block.text)
        load_inventory([tmp_path / "inventory.yaml"])


def test_every_setting_and_variable_is_documented() -> None:
    page = (DOCS / "reference" / "environment.md").read_text()
    for key in KEYS:
        assert f"| `{key}` |" in page, key
    code = "".join(path.read_text() for path in (ROOT / "ultraplan").glob("**/*.py"))
    for name in sorted(set(re.findall(r"\bULTRAPLAN_[A-Z_]+[A-Z]\b", code))):
        assert name in page, name


def test_every_event_is_documented() -> None:
    page = (DOCS / "reference" / "journal.md").read_text()
    for event in get_args(AnyEvent):
        assert f"`{event.__struct_config__.tag}`" in page, event.__struct_config__.tag


def test_the_words_of_a_saved_plan_are_documented() -> None:
    page = (DOCS / "reference" / "saved-plan.md").read_text()
    assert f"`ultraplan/plan`, {VERSION};" in page
    for word in (*Action, *Certainty):
        assert f"`{word}`" in page, word


def test_the_page_about_step_types_prints_what_it_shows(tmp_path: Path, program: dict[str, str]) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copytree(ROOT / "examples" / "steps-package" / "src", folder / "site")
    info = folder / "site" / "ultraplan_hosts_entry-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ultraplan-hosts-entry\nVersion: 1.0\n")
    page = DOCS / "how-to" / "write-a-step-type.md"
    [points] = [block.text for block in blocks(page) if block.language == "toml"]
    (info / "entry_points.txt").write_text(
        points.replace('[project.entry-points."ultraplan.steps"]', "[ultraplan.steps]").replace('"', ""))
    (folder / "names.yaml").write_text(
        "plan: names\nhosts: localhost\nsteps:\n  - id: db\n    hosts_entry: {name: db1, address: 192.0.2.10}\n")
    (folder / "ultraplan.yaml").write_text("inventory: 'localhost,'\n")
    environment = {**program, "PYTHONPATH": str(folder / "site")}
    wrong = Player(folder, environment).play(page, only="steps-package")
    assert not wrong, "\n\n".join(wrong)
