"""The README shows what the program prints; its plan is right; every link of the documentation leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.conftest import ROOT, keep_apart
from tests.docs.transcripts import Player, blocks
from ultraplan.cli import main
from ultraplan.cli.failures import INTERRUPTED, LOCKED, STALE, STATUS_CODES
from ultraplan.language.plan import Language
from ultraplan.steps.params import schema
from ultraplan.steps.registry import registry

README = ROOT / "README.md"
PAGES = sorted({README, ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"),
                *ROOT.glob("plans/**/*.md")})
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that headings get."""
    heads = re.findall(r"^#+ +(.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_the_readme_prints_what_it_shows(tmp_path: Path, program: dict[str, str]) -> None:
    folder = tmp_path / "hello"
    shutil.copytree(ROOT / "examples" / "hello", folder)
    keep_apart(folder)
    disks = str(tmp_path / "disks")
    player = Player(folder, {**program, "ULTRAPLAN_INPUT_BASE": disks}, {disks: "/srv"})
    subprocess.run(["ultraplan", "apply", "hello.yaml", "-i", "inventory.yaml", "-e", "release=1.0", "--yes"],
                   check=True, cwd=folder, env=player.environment, stdout=subprocess.DEVNULL,
                   stdin=subprocess.DEVNULL, timeout=60)
    wrong = player.play(README, only="hello")
    assert not wrong, "\n\n".join(wrong)


def test_its_recording_can_be_taken_again(program: dict[str, str]) -> None:
    done = subprocess.run(["sh", str(ROOT / "examples" / "hello" / "record.sh")], env={**os.environ, **program},
                          capture_output=True, text=True, timeout=60, check=False)
    assert "rolled back: 6 changed" in done.stdout, done.stdout + done.stderr


def test_its_plan_has_no_mistake(tmp_path: Path) -> None:
    [plan] = [block for block in blocks(README) if block.language == "yaml"]
    (tmp_path / "plan.yaml").write_text(plan.text)
    assert Language(registry(), schema).load(tmp_path / "plan.yaml").name == "gateway-rollout"


def test_it_names_every_verb_and_every_exit_code() -> None:
    text = README.read_text()
    for verb in main.VERBS:
        assert f"`{verb}" in text, f"{verb} is missing"
    for code in {*STATUS_CODES.values(), STALE, LOCKED, INTERRUPTED, main.USAGE}:
        assert f"\n| {code} |" in text, f"exit code {code} is missing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if "://" in link or page.name == "template.md":
            continue
        where, _, anchor = link.partition("#")
        target = (page.parent / where).resolve() if where else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{target.name} has no heading for #{anchor}"
