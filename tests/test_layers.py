"""Imports point one way, as docs/explanation/architecture.md draws it, and reach for no package's private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# package -> what it may import; modules directly in ultraplan/ are listed by name.
BASE = {"secrets", "shell"}
MAY = {
    "secrets": {"shell"},
    "shell": {"secrets"},
    "language": BASE,
    "inventory": BASE | {"language"},
    "graph": BASE | {"language", "inventory"},
    "steps": BASE | {"language", "backup"},
    "transport": BASE,
    "backup": BASE | {"transport"},
    "journal": set(),
    "engine": BASE | {"language", "inventory", "graph", "steps", "transport", "backup", "journal"},
    "cli": BASE | {"language", "inventory", "graph", "steps", "transport", "backup", "journal", "engine"},
}


class Import(NamedTuple):
    """One import of one name in a file."""

    file: Path
    line: int
    module: str
    name: str | None

    def __str__(self) -> str:
        what = f"{self.module}.{self.name}" if self.name else self.module
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {what}"


def imports(file: Path) -> Iterator[Import]:
    """All imports in a file, also those inside functions and under TYPE_CHECKING."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(file, node.lineno, module, alias.name)


def package_of(module: str) -> str | None:
    """`ultraplan.graph.model` → `graph`; None for what is not ours and for `ultraplan` itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "ultraplan" and len(parts) > 1 else None


def where(file: Path) -> str:
    return file.relative_to(ROOT / "ultraplan").with_suffix("").parts[0]


FILES = sorted((ROOT / "ultraplan").rglob("*.py"))
OURS = [i for f in FILES for i in imports(f) if i.module.split(".")[0] == "ultraplan"]


def targets(found: Import) -> set[str]:
    """The packages that an import reaches: `from ultraplan import graph` reaches graph."""
    direct = package_of(found.module)
    if direct:
        return {direct}
    return {found.name} if found.name in MAY else set()


@pytest.mark.parametrize("package", sorted(MAY))
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    above = MAY.keys() - MAY[package] - {package}
    wrong = [i for i in OURS if where(i.file) == package and targets(i) & above]
    assert not wrong, "\n".join(map(str, wrong))


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {p.parent.name for p in (ROOT / "ultraplan").glob("*/__init__.py")}
    assert packages - MAY.keys() == set()


def test_a_module_outside_the_order_is_no_way_round_it() -> None:
    """Modules directly in ultraplan/ that are not in the table may be imported by all, so they import no package."""
    loose = {p.stem for p in (ROOT / "ultraplan").glob("*.py")} - MAY.keys() - {"__init__", "__main__"}
    wrong = [
        i
        for file in FILES
        if where(file) in loose
        for i in imports(file)
        if package_of(i.module) in MAY.keys() - BASE
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_nothing_imports_a_private_name_of_another_package() -> None:
    def private(found: Import) -> bool:
        names = [*found.module.split(".")[1:], found.name or ""]
        return any(n.startswith("_") and not n.endswith("__") for n in names)

    wrong = [i for i in OURS if private(i) and package_of(i.module) != where(i.file)]
    assert not wrong, "\n".join(map(str, wrong))


def test_the_product_does_not_import_its_tests_or_examples() -> None:
    wrong = [i for f in FILES for i in imports(f) if i.module.split(".")[0] in {"tests", "examples", "benchmarks"}]
    assert not wrong, "\n".join(map(str, wrong))
