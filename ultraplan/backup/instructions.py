"""RESTORE.txt: how a set is restored with nothing but common programs."""
# ruff: noqa: E501 - a command is one line

from __future__ import annotations

from ultraplan.backup.manifest import Host, Source
from ultraplan.backup.names import DATA, FILES

_TEXT = """\
This is a backup set, complete when there is a file COMMIT beside this one.

  of        {name}: {roots}
  host      {host}
  begun     {started}
  readable  with the identities of {recipients}
  signed    by {signer}

It can be restored without the program that made it, with GNU tar, zstd and age (https://age-encryption.org). Fetch all
files of the set into one folder, and work there. RECOVERY_KEY is the file recovery.key that was kept elsewhere.
If you have doubts about where this text is from, take the commands from the copy that you keep with the key.

1. Check that nothing is damaged:

    sha256sum -c COMMIT

2. Check who made it (OpenSSL 3). Compare the signer above with the "# signer:" line of recovery.key first:

    printf -- '-----BEGIN PUBLIC KEY-----\\n%s\\n-----END PUBLIC KEY-----\\n' '{signer}' >signer.pem
    openssl pkeyutl -verify -pubin -inkey signer.pem -rawin -in manifest.json -sigfile manifest.json.sig
    sed -n 's/^  "\\([^"]*\\)": {{"size": [0-9]*, "sha256": "\\([0-9a-f]*\\)"}},*$/\\2  \\1/p' manifest.json | sha256sum -c

3. See what is in it: one line of JSON for each file.

    age -d -i RECOVERY_KEY {files} | zstd -dc | less

4. Unpack it, as root, into a folder that is empty; then move what you need to its place:

    mkdir restored
    age -d -i RECOVERY_KEY {data} | zstd -dc | LC_ALL=C tar -C restored -x -p -S --xattrs --xattrs-include='*' --acls
{more}"""


def restore_text(name: str, host: Host, source: Source, roots: list[str], started: str, recipients: list[str],
                 signer: str, more: str = "") -> bytes:
    """The text for one set. ``more``: what its source needs after unpacking (loading a dump)."""
    def one_line(text: str) -> str:
        return text.encode("unicode_escape").decode("ascii")

    return _TEXT.format(
        name=one_line(name), roots=", ".join(one_line("/" if root == "." else f"/{root}") for root in roots),
        host=one_line(host.name) + ("" if host.hostname == host.name else f" (calls itself {one_line(host.hostname)})"),
        started=started, recipients=", ".join(recipients), signer=signer, files=FILES, data=DATA,
        more=f"\n{more}" if more else "").encode()
