"""What a run needs to go on without the files it came from: stored beside its journal when it is opened."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultraplan.engine.job import Job, Request, RunName, compile_job
from ultraplan.engine.plan import Key
from ultraplan.engine.settings import Settings
from ultraplan.engine.sources import Sources
from ultraplan.inventory.model import Group, Host, Inventory

VERSION = 1


def pack(job: Job, promises: Mapping[Key, str]) -> bytes:
    """The bundle of a job: sources, inventory, inputs, settings of connections, promises. Secrets are references."""
    settings = job.settings
    content = {
        "version": VERSION,
        "request": dataclasses.asdict(job.request),
        "run": dataclasses.asdict(job.name),
        "files": {name: base64.b64encode(data).decode() for name, data in job.sources.files.items()},
        "inventory": {
            "hosts": [dataclasses.asdict(host) for host in job.graph.inventory.hosts.values()],
            "groups": [dataclasses.asdict(group) for group in job.graph.inventory.groups.values()],
            "sources": job.graph.inventory.sources,
        },
        "connections": {
            "ssh_config": str(settings.ssh_config) if settings.ssh_config else None,
            "known_hosts": str(settings.known_hosts) if settings.known_hosts else None,
            "strict_host_keys": settings.strict_host_keys,
        },
        "promises": [[*key, value] for key, value in promises.items()],
    }
    return json.dumps(content, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass")


def unpack(raw: bytes, settings: Settings) -> tuple[Job, dict[Key, str]]:
    """The job of a bundle, compiled anew from what was stored, and its promises."""
    content: dict[str, Any] = json.loads(raw)
    asked = content["request"]
    request = Request(**{**asked, **{key: tuple(asked[key]) for key in ("inventory", "tags", "skip_tags")}})
    stored = content["inventory"]
    inventory = Inventory(
        hosts={one["name"]: Host(**{**one, "groups": tuple(one["groups"])}) for one in stored["hosts"]},
        groups={one["name"]: Group(one["name"], tuple(one["children"]), tuple(one["hosts"]), one["vars"])
                for one in stored["groups"]},
        sources=tuple(stored["sources"]))
    ways = content["connections"]
    settings = dataclasses.replace(
        settings, ssh_config=Path(ways["ssh_config"]) if ways["ssh_config"] else None,
        known_hosts=Path(ways["known_hosts"]) if ways["known_hosts"] else None,
        strict_host_keys=ways["strict_host_keys"])
    sources = Sources({name: base64.b64decode(data) for name, data in content["files"].items()})
    job = compile_job(request, settings, name=RunName(**content["run"]), sources=sources, inventory=inventory)
    return job, {(node, host): value for node, host, value in content["promises"]}
