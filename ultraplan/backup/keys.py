"""Keys: who may read a set (age), and who vouches for it (Ed25519).

``recovery.key`` is an age identity file and ``recovery.pub`` an age recipients file; comments in them carry where the
identity is kept and who signs. ``signing.key`` is PKCS 8 in PEM (RFC 8410), so that openssl reads it.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ultraplan.backup.durable import write_new
from ultraplan.backup.errors import BackupError, Refused, Untrusted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

RECOVERY_KEY, RECOVERY_PUB, SIGNING_KEY = "recovery.key", "recovery.pub", "signing.key"
"""The files that `keygen` makes."""

_KEPT = re.compile(r"#\s*kept on:\s*(\S.*?)\s*")
_SIGNER = re.compile(r"#\s*signer:\s*([A-Za-z0-9+/=]+)\s*")
_RECIPIENT = re.compile(r"age1[a-z0-9]{58}")
_IDENTITY = re.compile(r"AGE-SECRET-KEY-1[A-Z0-9]{58}")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who can read: an age X25519 recipient, and the host or place where its identity is kept."""

    key: str
    kept_on: str


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a ``recovery.key`` or ``recovery.pub`` says. ``signers``: public keys (base64 of SubjectPublicKeyInfo, DER)
    whose signatures are trusted. ``identities``: never shown."""

    recipients: tuple[Recipient, ...]
    signers: tuple[str, ...]
    identities: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"KeyFile(recipients={self.recipients!r}, signers={self.signers!r})"


def read_keys(files: Iterable[Path]) -> KeyFile:
    """What the key files say, together. Raises `BackupError` naming the file and line that cannot be read."""
    recipients: list[Recipient] = []
    signers: list[str] = []
    identities: list[str] = []
    for file in files:
        kept = ""
        for number, line in enumerate(_lines(file), 1):
            if found := _KEPT.fullmatch(line):
                kept = found[1]
            elif found := _SIGNER.fullmatch(line):
                _public(found[1], f"{file}:{number}")
                signers.append(found[1])
            elif _RECIPIENT.fullmatch(line):
                if not kept:
                    raise BackupError(f"{file}:{number}: it is not said where the identity of {line} is kept",
                                      "put a line above it: # kept on: NAME OF A HOST, OR OF A PLACE")
                recipients.append(Recipient(line, kept))
            elif _IDENTITY.fullmatch(line):
                identities.append(line)
            elif line and not line.startswith("#"):
                raise BackupError(f"{file}:{number}: this is neither an age recipient nor an age identity")
    return KeyFile(tuple(dict.fromkeys(recipients)), tuple(dict.fromkeys(signers)), tuple(dict.fromkeys(identities)))


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BackupError(f"{file}: this is no key file") from None


def recipients_for(keys: KeyFile, host_names: Iterable[str]) -> Sequence[Recipient]:
    """The recipients of a backup of a host that is known by these names.

    Raises `Refused` where there is none, or where all their identities are kept on that very host.
    """
    if not keys.recipients:
        raise Refused("there is no recipient: nobody could ever read the backup",
                      "give recovery.pub (recovery.key stays away from here); `ultraplan backup keygen` makes both")
    here = {name.casefold() for name in host_names}
    if all(recipient.kept_on.casefold() in here for recipient in keys.recipients):
        raise Refused(f"the only key that reads this backup is kept on {keys.recipients[0].kept_on}, the host that is "
                      "backed up: they would be lost together",
                      "add a recipient whose identity is kept elsewhere, or move it and correct its `# kept on:`")
    return keys.recipients


def keygen(folder: Path, kept_on: str) -> tuple[Path, ...]:
    """Make a recovery key and a signing key below ``folder`` (made 0700); the files, 0600, never over others."""
    import pyrage
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if not re.fullmatch(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", kept_on):
        raise BackupError("where the recovery key is kept is a name in one line")
    identity, signing = pyrage.x25519.Identity.generate(), Ed25519PrivateKey.generate()
    recipient, signer = str(identity.to_public()), public_text(signing)
    head = (f"# made {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} by ultraplan backup keygen\n"
            f"# kept on: {kept_on.strip()}\n# signer: {signer}\n")
    pem = signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = {
        RECOVERY_KEY: f"{head}# public key: {recipient}\n{identity}\n".encode(),
        RECOVERY_PUB: f"{head}{recipient}\n".encode(),
        SIGNING_KEY: pem,
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = [name for name in contents if (folder / name).exists()]
    if there:
        raise Refused(f"{folder / there[0]} is there already, and a key is never overwritten",
                      "sets that it made could not be read any more; choose another folder")
    for name, content in contents.items():
        write_new(folder / name, content)
    return tuple(folder / name for name in contents)


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key of ``key``: base64 of its SubjectPublicKeyInfo, what stands between the lines of a PEM file."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def signing_key(file: Path) -> Ed25519PrivateKey:
    """The key in a PEM file. Raises `BackupError`; `Refused` where others may read it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(1 << 16)
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror}") from None
    if mode & 0o077:
        raise Refused(f"{file}: others may read this signing key (mode {mode & 0o777:04o})", f"chmod 600 {file}")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):
        raise BackupError(f"{file}: this is no private key in PEM without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BackupError(f"{file}: this is no Ed25519 key")
    return key


def check_signature(content: bytes, signature: bytes, signers: Iterable[str]) -> str:
    """The signer, of those that are trusted, who signed ``content``; raises `Untrusted`."""
    from cryptography.exceptions import InvalidSignature

    known = tuple(signers)
    if not known:
        raise Untrusted("no signer is trusted, so no set can be",
                        "give the recovery.key or recovery.pub of these backups; its `# signer:` line says who signs")
    for signer in known:
        try:
            _public(signer, "signer").verify(signature, content)
        except InvalidSignature:
            continue
        return signer
    raise Untrusted("the manifest is not signed by any key that is trusted: it was changed, or made by somebody else",
                    "do not restore it; look at who can write to the store")


def _public(text: str, where: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BackupError(f"{where}: this is no Ed25519 public key")
    return key
