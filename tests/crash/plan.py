"""The plan of every cell, and what each of its steps leaves in the tree: what the oracle compares with.

`folder`, `config` and `line` are ordinary built-in steps. `fire` is the step under fire, of the cell's kind. `last` may
fail, and then everything goes back. `fire` and `last` count how often they, and their undos, began and ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.crash.marks import counted
from tests.crash.sites import Tree

KINDS = ("idempotent", "reversible", "irreversible")
STEPS = ("folder", "config", "fire", "line", "last")
COUNTED = ("fire", "last")
NAMES = "192.0.2.1 old\n"
"""A file of the tree, as it is before a run."""


def plan_text(kind: str, base: str, serial: int | None) -> str:
    """The plan, for hosts whose folder is ``base``."""
    head: dict[str, Any] = {"plan": "crash", "inputs": {"code": {"type": "integer", "default": 0}}}
    if serial is not None:
        head["serial"] = serial
    return json.dumps({**head, "steps": [
        {"id": "folder", "directory": {"path": f"{base}/tree/app", "mode": "0750"}},
        {"id": "config", "file": {"path": f"{base}/tree/app/config", "content": "new\n", "mode": "0640"}},
        {"id": "fire", **_fire(kind, base)},
        {"id": "line", "lineinfile": {"path": f"{base}/tree/names", "line": "192.0.2.7 app"}},
        {"id": "last", "command": {"run": counted("last", base, "( exit {{ inputs.code }} )")},
         "undo": {"command": {"run": counted("undo-last", base, ":")}}},
    ]})


def _fire(kind: str, base: str) -> dict[str, Any]:
    path = f"{base}/tree/fire"
    command = {"command": {"run": counted("fire", base, f"echo fired >{path}")}}
    match kind:
        case "idempotent":
            return {"mark": {"path": path, "content": "fired", "base": base, "name": "fire"}}
        case "reversible":
            return {**command, "undo": {"command": {"run": counted("undo-fire", base, f"rm {path}")}}}
        case _:
            return {**command, "irreversible": "what burned is gone"}


def tree_with(steps: Iterable[str]) -> Tree:
    """The tree where exactly these steps stand."""
    there = set(steps)
    tree = {"names": ("-rw-r--r--", NAMES + ("192.0.2.7 app\n" if "line" in there else ""))}
    if "folder" in there:
        tree["app"] = ("drwxr-x---", "")
    if "config" in there:
        tree["app/config"] = ("-rw-r-----", "new\n")
    if "fire" in there:
        tree["fire"] = ("-rw-r--r--", "fired\n")
    return tree
