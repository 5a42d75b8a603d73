"""Writes the published JSON schema of plan files: ``python -m ultraplan.cli.schemas [FOLDER]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

NAME = "plan.schema.json"


def published() -> str:
    """The text of the schema file for the step types that are installed."""
    from ultraplan.language.plan import Language
    from ultraplan.steps.params import schema
    from ultraplan.steps.registry import registry

    return json.dumps(Language(registry(), schema).schema(), indent=2, ensure_ascii=False) + "\n"


def main(folder: str = "schemas") -> None:
    """Write the schema file into ``folder``."""
    (Path(folder) / NAME).write_text(published(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
