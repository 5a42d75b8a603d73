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
