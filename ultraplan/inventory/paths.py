"""Questions about paths that any text may be asked for, without an exception for text that can be no path."""

from __future__ import annotations

from pathlib import Path


def expanded(name: str) -> Path:
    """``name`` as a path, with ``~`` and ``~user`` written out where there is such a home."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def exists(path: Path) -> bool:
    """Whether something is there that we may see."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, no permission, a NUL
        return False


def is_folder(path: Path) -> bool:
    """Whether a directory is there that we may see."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


SCHEMES = ("env:", "scan:")
"""How sources begin that are no files: see `ultraplan.inventory.sources`."""


def alternatives(source: str) -> list[str]:
    """The parts of a source at its ``|``; the source alone where it has none, or is the name of a file."""
    return [source] if "|" not in source or exists(expanded(source)) else [part.strip() for part in source.split("|")]


def is_place(source: str) -> bool:
    """Whether a source can only be the name of a file or folder: it is no list of hosts and has no scheme."""
    return not source.startswith(SCHEMES) and ("," not in source or exists(expanded(source)))


def seen_from(folder: Path, source: str) -> str:
    """An inventory source that was named in ``folder``, as one calls it in any folder."""
    if exists(folder / source):
        return str(folder / source)
    return "|".join(str(folder / expanded(part)) if is_place(part) else part for part in alternatives(source))
