"""One large file to a host and back: by our transport, by a plan, and by OpenSSH's programs at their fastest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.many_steps import Failed
from benchmarks.results import Collection, Table
from benchmarks.runner import Usage, run
from benchmarks.tools.base import Site
from benchmarks.work import Work
from tests.lab import Lab

COLUMNS = {"ours": "ultraplan's transport", "plan": "ultraplan apply (copy, fetch)", "cat": "ssh HOST cat",
           "scp": "scp", "sftp": "sftp"}
TO, FROM, EMPTY = "to a host", "from a host", ", empty"
_CIPHER = "aes128-gcm@openssh.com"
_TIMEOUT = 600.0
_REMOTE = "/srv/large"
REPOSITORY = Path(__file__).parent.parent


def measure(lab: Lab, megabytes: int, repeat: int, folder: Path, tools: Sequence[str] = tuple(COLUMNS)) -> Table:
    """Seconds and bytes a second. Each copy is compared with the original, outside of what is timed; `Failed` where
    they differ."""
    size = megabytes * 1_000_000
    table = Table("files", f"A file of {megabytes} MB to a host and back",
                  {name: label for name, label in COLUMNS.items() if name in tools})
    table.notes += [
        f"OpenSSH is told to use {_CIPHER}, its fastest, which is what we prefer. The plan also computes SHA-256 on "
        "both sides and makes the change undoable.",
        "The rate is that of the bytes: starting up and connecting, measured with an empty file, is taken off.",
    ]
    site = Site(lab, [next(iter(lab.hosts))], Work(0), folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    collection = Collection(table)
    digests = {EMPTY: _random(folder / "source-empty", 0), "": _random(folder / "source", size)}
    for _ in range(repeat):
        for name in table.columns:
            for suffix, digest in digests.items():
                for row in (TO, FROM):
                    usage = _once(site, name, row, suffix, digest)
                    collection.add(row + suffix, name, usage)
                    print(f"  {row}{suffix}, {table.columns[name]}: {usage.seconds:.2f} s", file=sys.stderr, flush=True)
    lab.sh(site.hosts[0], f"rm -rf {_REMOTE} /var/lib/ultraplan")
    table = collection.table()
    for row in (TO, FROM):
        for name, cell in table.rows[row].items():
            bare = cell.seconds - table.rows[row + EMPTY][name].seconds
            table.rows[row][name] = replace(cell, rate=size / bare if bare > 0 else None)
    return table


def _once(site: Site, name: str, row: str, suffix: str, digest: str) -> Usage:
    """One file one way. It is the original, to the byte, or `Failed` is raised."""
    folder, host = site.folder, site.hosts[0]
    source = folder / ("source-empty" if suffix else "source")
    shutil.rmtree(folder / "fetched", ignore_errors=True)
    (folder / "back").unlink(missing_ok=True)
    if row == TO:
        site.lab.sh(host, f"rm -rf {_REMOTE} /var/lib/ultraplan && mkdir {_REMOTE}")
    log = folder / f"{name}.log"
    way = _to(site, name, str(source)) if row == TO else _from(site, name)
    usage = run(way, environment=_environment(folder), cwd=folder, log=log, timeout=_TIMEOUT)
    if usage.exit != 0:
        raise Failed(f"{name}, {row}: exit {usage.exit}\n{log.read_text(errors='replace')[-2000:]}")
    arrived = site.lab.path(host, f"{_REMOTE}/file") if row == TO else folder / "back"
    if row == FROM and name == "plan":
        arrived = folder / "fetched" / host / "file"
    if _digest(arrived) != digest:
        raise Failed(f"{name}, {row}: what arrived is not what was sent")
    return usage


def _to(site: Site, name: str, source: str) -> list[str]:
    target = f"{_REMOTE}/file"
    match name:
        case "ours":
            return _carry(site, "to", source, target)
        case "plan":
            return _apply(site, "to", {"copy": {"source": source, "path": target}})
        case "cat":
            return ["/bin/sh", "-c", 'file=$1; shift; exec "$@" <"$file"', "sh", source,
                    *_ssh(site, "ssh"), f"cat >{target}"]
        case "scp":
            return [*_ssh(site, "scp", "-q"), source, f"root@{site.address(site.hosts[0])}:{target}"]
        case _:
            return _sftp(site, f"put {source} {target}")


def _from(site: Site, name: str) -> list[str]:
    source, target = f"{_REMOTE}/file", str(site.folder / "back")
    match name:
        case "ours":
            return _carry(site, "from", target, source)
        case "plan":
            return _apply(site, "from", {"fetch": {"path": source, "to": str(site.folder / "fetched")}})
        case "cat":
            return ["/bin/sh", "-c", 'file=$1; shift; exec "$@" >"$file"', "sh", target,
                    *_ssh(site, "ssh"), f"cat {source}"]
        case "scp":
            return [*_ssh(site, "scp", "-q"), f"root@{site.address(site.hosts[0])}:{source}", target]
        case _:
            return _sftp(site, f"get {source} {target}")


def _ssh(site: Site, program: str, *flags: str) -> list[str]:
    words = [program, "-F", "/dev/null", "-c", _CIPHER, "-i", str(site.key), "-o", "IdentitiesOnly=yes",
             "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={site.known_hosts}", *flags]
    return [*words, f"root@{site.address(site.hosts[0])}"] if program == "ssh" else words


def _sftp(site: Site, order: str) -> list[str]:
    batch = site.folder / f"batch-{order.split()[0]}"
    batch.write_text(order + "\n")
    return [*_ssh(site, "sftp", "-q", "-b", str(batch)), f"root@{site.address(site.hosts[0])}"]


def _carry(site: Site, way: str, here: str, there: str) -> list[str]:
    variables = {"ansible_host": site.address(site.hosts[0]), "ansible_user": "root",
                 "ansible_ssh_private_key_file": str(site.key), "ansible_ssh_common_args":
                 f"-F /dev/null -o IdentitiesOnly=yes -o UserKnownHostsFile={site.known_hosts}"}
    return [sys.executable, "-m", "benchmarks.carry", way, json.dumps(variables), here, there]


def _apply(site: Site, name: str, step: dict[str, object]) -> list[str]:
    site.inventory(interpreter=False)
    plan = site.folder / f"{name}.yaml"
    plan.write_text(json.dumps({"plan": name, "hosts": "all", "steps": [{"id": name, **step}]}))
    return [str(Path(sys.executable).with_name("ultraplan")), "apply", "--yes", "--no-color", "--state",
            str(site.folder / "state"), "-i", str(site.folder / "inventory.yaml"), str(plan)]


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1"}


def _random(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while size > 0:
            data = os.urandom(min(size, 1 << 20))
            digest.update(data)
            file.write(data)
            size -= len(data)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
