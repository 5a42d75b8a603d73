"""Variables as an inventory holds them: plain data in which a secret is never a value, only its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultraplan import vault
from ultraplan.inventory.references import reference_of
from ultraplan.secrets import marker, neutral, rooted


def veiled(value: Any, file: Path, path: Sequence[str | int], *, encrypted: bool = False) -> Any:
    """``value``, which stands at ``path`` in ``file``, without secrets.

    An encrypted value becomes its marker; in a file that is ``encrypted`` as a whole so does every text and number
    (null and booleans stay: they hide nothing, and a condition needs them). The file that a reference names, which is
    relative to the directory of ``file``, is written out.
    """
    value = vault.vault_json(value)
    if isinstance(value, vault.VaultText):
        return marker(vault.reference(file, path))
    if isinstance(value, Mapping):
        if list(value) == ["__ansible_unsafe"]:
            return veiled(vault.inert(value["__ansible_unsafe"]), file, path, encrypted=encrypted)
        reference = reference_of(value)
        if reference is not None:
            return {"secret": rooted(reference, file.parent)}
        return {_clean(key): veiled(item, file, [*path, key], encrypted=encrypted) for key, item in value.items()}
    if isinstance(value, list):
        return [veiled(item, file, [*path, index], encrypted=encrypted) for index, item in enumerate(value)]
    if encrypted and value is not None and not isinstance(value, bool):
        return marker(vault.reference(file, path))
    return _clean(value)


def templated(value: Any) -> bool:
    """Whether a template stands somewhere in ``value``."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(templated, value.values()))
    return isinstance(value, list) and any(map(templated, value))


def holds_vault(value: Any) -> bool:
    """Whether an encrypted value stands somewhere in ``value``."""
    value = vault.vault_json(value)
    if isinstance(value, Mapping):
        return any(map(holds_vault, value.values()))
    return isinstance(value, vault.VaultText) or (isinstance(value, list) and any(map(holds_vault, value)))


def _clean(value: Any) -> Any:
    return neutral(value) if isinstance(value, str) else value
