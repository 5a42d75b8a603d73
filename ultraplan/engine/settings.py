"""Where things are: the optional ultraplan.yaml of a repository, the environment, the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraplan.inventory.paths import seen_from
from ultraplan.language.errors import Diagnostic, SourceError, did_you_mean
from ultraplan.language.source import load_yaml, read_source
from ultraplan.language.values import Duration

NAME = "ultraplan.yaml"
"""The configuration file, looked for in the working folder and its parents."""

KEYS = ("inventory", "state", "store", "ssh_config", "known_hosts", "strict_host_keys", "reconnect")
"""The settings that the file may have."""

RECONNECT = 30.0
"""Seconds for which a host that was lost is tried to be reached again, where the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``inventory``: sources used where none are given. ``state``: the folder for journals and pre-images (0700).
    ``store``: the journal store's URL or path. ``reconnect``: for how many seconds a host that was lost is tried to be
    reached again. ``file``: the configuration file that was found."""

    inventory: tuple[str, ...] = ()
    state: Path
    store: str
    ssh_config: Path | None = None
    known_hosts: Path | None = None
    strict_host_keys: bool = True
    reconnect: float = RECONNECT
    file: Path | None = None


def find_settings(folder: Path, environ: Mapping[str, str], state: str | None = None) -> Settings:
    """The settings that hold in ``folder``; ``state`` wins over the environment, that over the file.

    Raises `SourceError` for a configuration file that is wrong.
    """
    file = next((one / NAME for one in (folder, *folder.parents) if (one / NAME).is_file()), None)
    data = _read(file) if file is not None else {}
    base = file.parent if file is not None else folder

    def path(key: str) -> Path | None:
        return (base / Path(str(data[key])).expanduser()) if data.get(key) else None

    home = Path(environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".local" / "state")
    where = state or environ.get("ULTRAPLAN_STATE")
    folder_of_state = Path(where).expanduser() if where else path("state") or home / "ultraplan"
    store = environ.get("ULTRAPLAN_STORE") or _store(data.get("store"), base) or str(folder_of_state / "journal.db")
    sources = data.get("inventory") or ()
    listed = [sources] if isinstance(sources, str) else list(sources)
    return Settings(inventory=tuple(seen_from(base, one) for one in map(str, listed)),
                    state=folder_of_state.absolute(), store=str(store), ssh_config=path("ssh_config"),
                    known_hosts=path("known_hosts"), strict_host_keys=bool(data.get("strict_host_keys", True)),
                    reconnect=float(data.get("reconnect", RECONNECT)), file=file)


def _store(where: Any, folder: Path) -> str | None:
    """The journal store that a configuration in ``folder`` names: a URL as it is, a file's path below the folder."""
    if not where:
        return None
    return str(where) if "://" in str(where) else str(folder / Path(str(where)).expanduser())


def _read(file: Path) -> Mapping[str, Any]:
    data, source = load_yaml(read_source(file), str(file))
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        at = source.at(())
        raise SourceError([Diagnostic("wrong-type", "the configuration is a mapping of settings", at,
                                      source.line(at.line))])
    wrong = []
    for key in data:
        if key not in KEYS:
            at = source.at((key,), key=True)
            wrong.append(Diagnostic("unknown-key", f"there is no setting '{key}'", at, source.line(at.line),
                                    did_you_mean(str(key), KEYS) or f"settings: {', '.join(KEYS)}"))
    if wrong:
        raise SourceError(wrong)
    if "reconnect" not in data:
        return data
    try:
        return {**data, "reconnect": Duration.parse(data["reconnect"])}
    except ValueError as error:
        at = source.at(("reconnect",))
        raise SourceError([Diagnostic("wrong-value", f"reconnect: {error}", at, source.line(at.line))]) from None
