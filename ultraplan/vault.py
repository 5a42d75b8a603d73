"""Ansible Vault: the 1.1 and 1.2 formats, and how a ``vault:FILE#KEY.PATH`` reference becomes its value.

Format (Ansible's "Vault payload format"): a header ``$ANSIBLE_VAULT;1.1;AES256`` (1.2 adds ``;LABEL``), then hex of
three hex lines: salt, HMAC-SHA256, ciphertext. The keys are PBKDF2-HMAC-SHA256 of the password (10,000 rounds):
32 bytes for AES-CTR, 32 for the HMAC, 16 for the counter. The HMAC is checked before anything is decrypted.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from binascii import Error as HexError
from binascii import hexlify, unhexlify
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ultraplan.secrets import SecretError

HEADER = "$ANSIBLE_VAULT"
PASSWORD_FILES = ("ULTRAPLAN_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_PASSWORD_FILE")
"""The environment variables that name the password file, in the order they are looked at."""

_ROUNDS, _KEY, _BLOCK, _WIDTH = 10_000, 32, 16, 80
_SCRIPT_SECONDS = 60.0
_LABEL = re.compile(r"[^\s;]+")


@dataclass(frozen=True, slots=True)
class VaultText:
    """An encrypted value as a YAML file holds it (``!vault |``); only `decrypt` opens it."""

    ciphertext: str = field(repr=False)


def is_encrypted(text: str) -> bool:
    """Whether ``text`` is a vault document as a whole."""
    return text.startswith(HEADER)


def encrypt(plaintext: str, password: bytes, *, label: str | None = None, salt: bytes | None = None) -> str:
    """``plaintext`` as a vault document: version 1.1, or 1.2 where a ``label`` (vault id) is given.

    ``salt`` (32 random bytes by default) is for reproducible tests. Raises ValueError for an empty password or a
    label with blanks or ``;``.
    """
    if not password:
        raise ValueError("a vault password cannot be empty")
    if label is not None and not _LABEL.fullmatch(label):
        raise ValueError("a vault label holds no blanks and no ';'")
    import hmac

    from cryptography.hazmat.primitives import padding

    salt = os.urandom(32) if salt is None else salt
    key, mac_key, counter = _keys(password, salt)
    padder = padding.PKCS7(_BLOCK * 8).padder()
    sealed = _ctr(key, counter, padder.update(plaintext.encode()) + padder.finalize())
    mac = hmac.digest(mac_key, sealed, "sha256")
    body = hexlify(b"\n".join(map(hexlify, (salt, mac, sealed)))).decode()
    head = f"{HEADER};1.2;AES256;{label}" if label else f"{HEADER};1.1;AES256"
    return "\n".join([head, *(body[i:i + _WIDTH] for i in range(0, len(body), _WIDTH)), ""])


def decrypt(text: str, password: bytes) -> str:
    """What the vault document ``text`` holds.

    Raises `SecretError` where it is no vault document, of an unknown version or cipher, damaged, or encrypted with
    another password. The message never holds any of it.
    """
    import hmac

    from cryptography.hazmat.primitives import padding

    salt, mac, sealed = _parse(text)
    key, mac_key, counter = _keys(password, salt)
    if not hmac.compare_digest(hmac.digest(mac_key, sealed, "sha256"), mac):
        raise SecretError("the vault password is not the one it was encrypted with (or the data is damaged)")
    unpadder = padding.PKCS7(_BLOCK * 8).unpadder()
    try:
        return (unpadder.update(_ctr(key, counter, sealed)) + unpadder.finalize()).decode()
    except UnicodeDecodeError:
        raise SecretError("the vault data is not UTF-8 text") from None
    except ValueError:
        raise SecretError("the vault data is damaged") from None


def _parse(text: str) -> tuple[bytes, bytes, bytes]:
    """Salt, HMAC and ciphertext of a vault document."""
    lines = text.split()
    head = lines[0].split(";") if lines else []
    if not head or head[0] != HEADER or len(head) < 3:
        raise SecretError(f"not vault data: it does not begin with {HEADER};VERSION;CIPHER")
    if head[1] not in ("1.1", "1.2"):
        raise SecretError("unknown vault version; known: 1.1, 1.2")
    if head[2] != "AES256":
        raise SecretError("unknown vault cipher; known: AES256")
    try:
        salt, mac, sealed = map(unhexlify, unhexlify("".join(lines[1:])).split(b"\n", 2))
    except (HexError, ValueError):
        raise SecretError("the vault data is damaged: it is not hex of salt, HMAC and ciphertext") from None
    return salt, mac, sealed


@lru_cache(maxsize=256)
def _keys(password: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    from hashlib import pbkdf2_hmac

    derived = pbkdf2_hmac("sha256", password, salt, _ROUNDS, 2 * _KEY + _BLOCK)
    return derived[:_KEY], derived[_KEY:2 * _KEY], derived[2 * _KEY:]


def _ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    worker = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return worker.update(data) + worker.finalize()


def password_from(environ: Mapping[str, str]) -> bytes:
    """The vault password: the content of the file that `PASSWORD_FILES` name, or the output of it where it is
    executable (as Ansible does). Raises `SecretError` where none is named or it cannot be had."""
    name = next((name for name in PASSWORD_FILES if environ.get(name)), None)
    if name is None:
        raise SecretError(f"no vault password: set {PASSWORD_FILES[0]} to the file that holds it")
    path = _path(environ[name]).absolute()
    if path.is_file() and os.access(path, os.X_OK):
        password = _run(path, environ).strip(b"\r\n")
    else:
        try:
            password = path.read_bytes().strip()
        except OSError as error:
            raise SecretError(f"vault password file {path} ({name}): {error.strerror}") from None
    if not password:
        raise SecretError(f"vault password file {path} ({name}) gave an empty password")
    return password


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise SecretError(f"{name}: there is no such home directory") from None


def _run(path: Path, environ: Mapping[str, str]) -> bytes:
    import subprocess

    try:
        done = subprocess.run([str(path)], stdout=subprocess.PIPE, timeout=_SCRIPT_SECONDS, check=False,
                              env=dict(environ))
    except OSError as error:
        raise SecretError(f"vault password script {path}: {error.strerror}; "
                          "if it is no script, take its executable bit away") from None
    except subprocess.TimeoutExpired:
        raise SecretError(f"vault password script {path}: no answer within {_SCRIPT_SECONDS:.0f} s") from None
    if done.returncode:
        raise SecretError(f"vault password script {path}: exit code {done.returncode}")
    return done.stdout


def reference(file: Path, path: Sequence[str | int]) -> str:
    """The reference (``vault:FILE#KEY.PATH``) of the value at ``path`` in ``file``. Its parts are unambiguous: ``%``,
    ``#`` and, in keys, ``.`` are percent-encoded, and so is whatever is not printable."""
    keys = ".".join(_encoded(str(key), "%#.") for key in path)
    return f"vault:{_encoded(str(file), '%#')}#{keys}"


def _encoded(text: str, special: str) -> str:
    return "".join(urllib.parse.quote(c, safe="") if c not in special and not c.isprintable()
                   else f"%{ord(c):02X}" if c in special else c for c in text)


def resolver(base_dir: Path, environ: Mapping[str, str]) -> Callable[[str], str]:
    """A resolver of ``vault:`` references for `ultraplan.secrets.Secrets`: from ``FILE#KEY.PATH`` to the value.

    FILE is absolute or relative to ``base_dir``: a YAML file with ``!vault`` values, or one encrypted as a whole (then
    every value in it is a secret). Without ``#`` the value is the whole decrypted text of FILE. The password is asked
    for on first use. Raises `SecretError`, whose message never holds a value.
    """
    passwords: list[bytes] = []
    documents: dict[Path, Any] = {}

    def password() -> bytes:
        if not passwords:
            passwords.append(password_from(environ))
        return passwords[0]

    def resolve(rest: str) -> str:
        name, has_path, keys = rest.partition("#")
        path = base_dir / _path(urllib.parse.unquote(name))
        try:
            if not has_path:
                return decrypt(_text(path), password())
            if path not in documents:
                documents[path] = _document(path, password)
            value = _walk(documents[path], [urllib.parse.unquote(key) for key in keys.split(".")])
            return decrypt(value.ciphertext, password()) if isinstance(value, VaultText) else value
        except SecretError as error:
            raise SecretError(f"secret vault:{rest}: {error}") from None

    return resolve


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SecretError(f"{path}: {why}") from None


def _document(path: Path, password: Callable[[], bytes]) -> Any:
    """The data of a YAML file in which every secret is a `VaultText` or, in an encrypted file, plain."""
    import yaml

    text = _text(path)
    encrypted = is_encrypted(text)
    plain = decrypt(text, password()) if encrypted else text
    try:
        data = json.loads(plain)
    except (ValueError, RecursionError):
        data = None  # not JSON; then YAML
    try:
        data = yaml.load(plain, Loader=tagged_loader()) if data is None else data  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SecretError(f"{path} is not valid YAML") from None  # the error's text would quote the content
    return _Plain(data) if encrypted else data


@dataclass(frozen=True, slots=True)
class _Plain:
    """The content of an encrypted file: its plain values are secrets too."""

    data: Any = field(repr=False)


def _walk(document: Any, keys: Sequence[str]) -> str | VaultText:
    """The secret at ``keys``."""
    plain = isinstance(document, _Plain)
    value = document.data if isinstance(document, _Plain) else document
    for key in keys:
        if isinstance(value, Mapping):
            found = [v for k, v in value.items() if str(k) == key]
            if not found:
                raise SecretError(f"the file has no key '{key}' there")
            value = found[0]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise SecretError(f"there is nothing under '{key}'")
    value = vault_json(value)
    if isinstance(value, VaultText):
        return value
    if not plain:
        raise SecretError("the value is not encrypted (no !vault)")
    if value is None or isinstance(value, (Mapping, list)):
        raise SecretError("the value is not a single value")
    return value if isinstance(value, str) else str(value)


def vault_json(value: Any) -> Any:
    """``value``, or where it is the JSON form of an encrypted value (``{"__ansible_vault": "…"}``) a `VaultText`."""
    if isinstance(value, Mapping) and list(value) == ["__ansible_vault"] and isinstance(value["__ansible_vault"], str):
        return VaultText(value["__ansible_vault"])
    return value


@cache
def tagged_loader() -> Any:
    """PyYAML's safe loader (YAML 1.1, as Ansible reads it; libyaml's where present) with Ansible's tags ``!vault``
    (a `VaultText`) and ``!unsafe`` (text in which an expression stays text); dates stay text."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("TaggedLoader", (base,), {})

    def vault(self: Any, node: Any) -> VaultText:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "!vault needs a text value", node.start_mark)
        return VaultText(str(self.construct_scalar(node)))

    def unsafe(self: Any, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            plain = yaml.ScalarNode(self.resolve(yaml.ScalarNode, node.value, (node.style is None, False)), node.value,
                                    node.start_mark, node.end_mark)
            return inert(self.construct_object(plain))
        tag = yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG
        if isinstance(node, yaml.SequenceNode):
            tag = yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG
        return inert(self.construct_object(type(node)(tag, node.value, node.start_mark, node.end_mark), deep=True))

    def timestamp(self: Any, node: Any) -> str:
        try:
            return str(self.construct_yaml_timestamp(node).isoformat())
        except ValueError:
            return str(node.value)

    loader.add_constructor("!vault", vault)
    loader.add_constructor("!vault-encrypted", vault)
    loader.add_constructor("!unsafe", unsafe)
    loader.add_constructor("tag:yaml.org,2002:timestamp", timestamp)
    return loader


def inert(value: Any) -> Any:
    """``value`` so that rendering it gives ``value`` itself: text with ``{{``, ``{%`` or ``{#`` becomes an expression
    that is a literal."""
    if isinstance(value, str):
        if not any(opening in value for opening in ("{{", "{%", "{#")):
            return value
        literal = "".join(c if c.isalnum() or c == " " else f"\\x{ord(c):02x}" if ord(c) < 256
                          else f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}" for c in value)
        return '{{ "' + literal + '" }}'
    if isinstance(value, list):
        return [inert(item) for item in value]
    if isinstance(value, dict):
        return {key: inert(item) for key, item in value.items()}
    return value
