"""``ultraplan init``: the beginning of a repository of plans."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ultraplan.cli import options

EXAMPLES = """\
examples:
  ultraplan init recovery && cd recovery
  ultraplan plan plans/hello.yaml
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=".", type=Path,
                        help="where (default: here); what is there already stays as it is")
    options.add_output(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    from ultraplan.cli.schemas import NAME, published
    from ultraplan.cli.views.paint import visible
    from ultraplan.engine.runs import NotPossible

    folder: Path = args.folder
    if folder.exists() and not folder.is_dir():
        raise NotPossible(f"{folder} is there already, and is no folder")
    template = Path(__file__).with_name("scaffold")
    files = {Path(*(_named(part) for part in file.relative_to(template).parts)): file.read_text(encoding="utf-8")
             for file in sorted(template.rglob("*")) if file.is_file()}
    files[Path("schemas", NAME)] = published()
    made: list[str] = []
    kept: list[str] = []
    for path, text in files.items():
        (made if _write(folder / path, text) else kept).append(str(path))
    if args.json:
        print(json.dumps({"format": "ultraplan/init", "version": 1, "folder": str(folder.absolute()), "made": made,
                          "kept": kept}, ensure_ascii=False))
        return 0
    for name in made:
        print(f"made  {visible(str(folder / name))}")
    for name in kept:
        print(f"kept  {visible(str(folder / name))}   (was there already)")
    enter = "" if folder == Path() else f"cd {visible(str(folder))} && "
    print(f"\nnext: {enter}ultraplan plan plans/hello.yaml")
    return 0


def _named(part: str) -> str:
    """Files whose names begin with a dot are kept in the package without it: packagers leave hidden files out."""
    return f".{part.removeprefix('dot-')}" if part.startswith("dot-") else part


def _write(path: Path, text: str) -> bool:
    """Whether the file was made; one that is there, whatever it is, stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
