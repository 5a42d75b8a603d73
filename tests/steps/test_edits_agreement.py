"""Our lineinfile and blockinfile leave the very text that Ansible's leave, on hundreds of texts and parameters."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.peers import Peer, ansible_environ, peers
from ultraplan.steps.edits import BlockStep, LineStep
from ultraplan.steps.params import build

__all__ = ["ansible_environ", "peers"]

LINES = ("", "a", "a=1", "a = 2", "b=1", "# a=1", "[s]", " a", "a=1 b=1", "ü=ß")
EXPRESSIONS = ("^a", "a", "^a *=", "^b", "x", "^#", r"\[s\]", "^(a)=(.*)$", "ü")
CASES = 300

DELIBERATE: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("lineinfile", "a\r\nb\r\n", {"line": "c"}, "a\r\nb\r\nc\r\n"),
    ("blockinfile", "a\r\n", {"block": "x"}, "a\r\n# BEGIN M\r\nx\r\n# END M\r\n"),
    ("lineinfile", "a\nb", {"line": "b"}, "a\nb"),
    ("blockinfile", "a\nb", {"block": "x", "state": "absent"}, "a\nb"),
    ("lineinfile", "a\nb", {"line": "c", "insertafter": "b"}, "a\nb\nc\n"),
    ("lineinfile", "a\nb\n", {"line": "b", "insertbefore": "a", "firstmatch": True}, "a\nb\n"),
)
"""Where we leave another text: a file whose lines all end as Windows' do stays such a file; where nothing is to do, the
missing end of a last line is not added; a line that comes after such a last line does not run into it; and with
`firstmatch` a line that is there already, after the match, is not added again at each run."""


@pytest.fixture(scope="module")
def editor(peers: Path, ansible_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Ansible's modules, started once."""
    peer = Peer(ansible_environ, Path(__file__).with_name("ansible_edits_peer.py"), tmp_path_factory.mktemp("cwd"))
    yield peer
    peer.close()


def ours(module: str, text: str, args: Mapping[str, Any]) -> str:
    """The text as our step of the same name leaves it."""
    step: Any = LineStep() if module == "lineinfile" else BlockStep()
    params = build(step, {"path": "/file", **args}, lambda kind, name: None)
    return str(step.edit(params, text))


def _text(chance: random.Random) -> str:
    return "".join(f"{chance.choice(LINES)}\n" for _ in range(chance.randrange(6)))


def _place(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(("", "insertafter", "insertbefore"))
    if not kind:
        return {}
    return {kind: chance.choice((*EXPRESSIONS, "BOF") if kind == "insertbefore" else (*EXPRESSIONS, "EOF"))}


def _line_case(chance: random.Random) -> dict[str, Any]:
    line = chance.choice(LINES[1:])
    if chance.random() < 0.2:
        by = chance.choice(("line", "regexp", "both"))
        return {"state": "absent", **({"line": line} if by != "regexp" else {}),
                **({"regexp": chance.choice(EXPRESSIONS)} if by != "line" else {})}
    args: dict[str, Any] = {"line": line, **_place(chance)}
    if chance.random() < 0.6:
        args["regexp"] = chance.choice(EXPRESSIONS)
        if chance.random() < 0.3:
            args |= {"backrefs": True, "regexp": "^(a) *= *(.*)$", "line": r"\1: \2"}
    if chance.random() < 0.3 and not {"insertafter", "insertbefore"} & set(args):
        args["firstmatch"] = True
    return args


def _block_case(chance: random.Random) -> dict[str, Any]:
    block = "\n".join(chance.choice(LINES[1:]) for _ in range(chance.randrange(3)))
    return {"block": block, "state": "absent" if chance.random() < 0.2 else "present", **_place(chance)}


def _with_block(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if chance.random() < 0.5:
        lines[chance.randrange(len(lines) + 1):0] = ["# BEGIN M\n", "old\n", "# END M\n"]
    return "".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_lines_are_where_ansible_puts_them(seed: int, editor: Peer) -> None:
    chance = random.Random(seed)
    for _ in range(CASES // 4):
        text, args = _text(chance), _line_case(chance)
        assert ours("lineinfile", text, args) == editor.ask("lineinfile", text=text, args=args), (text, args)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_are_where_ansible_puts_them(seed: int, editor: Peer) -> None:
    chance = random.Random(seed)
    for _ in range(CASES // 4):
        text, args = _with_block(_text(chance), chance), {**_block_case(chance), "marker": "# {mark} M"}
        assert ours("blockinfile", text, args) == editor.ask("blockinfile", text=text, args=args), (text, args)


@pytest.mark.parametrize(("module", "text", "args", "left"), DELIBERATE)
def test_where_we_differ_we_mean_it(module: str, text: str, args: dict[str, Any], left: str, editor: Peer) -> None:
    args = args if module == "lineinfile" else {**args, "marker": "# {mark} M"}
    assert ours(module, text, args) == left
    assert editor.ask(module, text=text, args=args) != left
