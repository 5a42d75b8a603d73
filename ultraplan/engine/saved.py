"""Saved plans: what a preview showed, kept in a file, and applied exactly so or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultraplan.engine.job import Job, Request, RunName
from ultraplan.engine.plan import Key, Plan, Prediction
from ultraplan.secrets import Secrets
from ultraplan.steps.base import FieldDiff, TextDiff

VERSION = 1


class NotASavedPlan(Exception):
    """The file is not a saved plan of a version that this program reads."""


class Stale(Exception):
    """What a saved plan rests on has moved; ``moved`` says what, a line each. Nothing was touched."""

    def __init__(self, moved: list[str]) -> None:
        super().__init__("the saved plan is stale: " + "; ".join(moved))
        self.moved = moved


@dataclasses.dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a saved plan holds: the request, the run's name, the digests, and for each operation what it promised."""

    request: Request
    name: RunName
    created: float
    digests: Mapping[str, str]
    operations: Mapping[Key, Mapping[str, Any]]
    unreachable: Mapping[str, str]


def document(plan: Plan, job: Job) -> dict[str, Any]:
    """The plan as JSON: what ``plan --json`` prints and what a saved plan holds. Redacted; references for secrets."""
    return {
        "format": "ultraplan/plan", "version": VERSION, "created": plan.created,
        "run": dataclasses.asdict(job.name), "request": dataclasses.asdict(job.request),
        "plan": plan.graph.document.name, "hosts": list(plan.graph.hosts),
        "batches": [list(batch) for batch in plan.graph.batches],
        "summary": plan.summary, "no_return": plan.no_return, "warnings": list(plan.warnings),
        "most_down": plan.most_down, "unreachable": dict(plan.unreachable), "digests": dict(plan.digests),
        "operations": [_operation(one, job.secrets) for one in plan.predictions.values()],
    }


def save(plan: Plan, job: Job, path: Path) -> None:
    """Write the plan to ``path``, mode 0600, complete or not at all. Raises OSError."""
    text = json.dumps(document(plan, job), indent=1, ensure_ascii=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_saved(path: Path) -> bool:
    """Whether the file looks like a saved plan rather than a plan in YAML."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b'{') and path.suffix not in (".yaml", ".yml")
    except OSError:
        return False


def load(path: Path) -> SavedPlan:
    """The saved plan at ``path``; raises `NotASavedPlan`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != "ultraplan/plan":
            raise NotASavedPlan(f"{path}: not a saved plan, but {content['format']!s:.80}")
        if content["version"] != VERSION:
            raise NotASavedPlan(f"{path}: a saved plan of version {content['version']}; this program reads {VERSION}")
        asked = content["request"]
        request = Request(**{**asked, **{key: tuple(asked[key]) for key in ("inventory", "tags", "skip_tags")}})
        operations = {(one["node"], one["host"]): one for one in content["operations"]}
        return SavedPlan(request, RunName(**content["run"]), content["created"], content["digests"], operations,
                         content["unreachable"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotASavedPlan(f"{path}: not a saved plan ({type(error).__name__}: {error})") from None


def check_sources(saved: SavedPlan, now: Mapping[str, str]) -> None:
    """Raises `Stale` where a source file, the inventory or the inputs are not those of the saved plan."""
    moved = []
    for name in sorted(set(saved.digests) | set(now)):
        before, after = saved.digests.get(name), now.get(name)
        if before != after:
            what = "is new" if before is None else "is gone" if after is None else "changed"
            moved.append(f"{'the ' if '/' not in name else ''}{name} {what}")
    if moved:
        raise Stale(moved)


def check_hosts(saved: SavedPlan, plan: Plan) -> None:
    """Raises `Stale` where the hosts are not as the saved plan saw them."""
    moved = [f"{host} cannot be reached any more: {why}" for host, why in plan.unreachable.items()
             if host not in saved.unreachable]
    for key, now in plan.predictions.items():
        was = saved.operations.get(key)
        if was is None:
            moved.append(f"{key[0]} on {key[1]} is new")
        elif (was["action"], was["before"]) != (str(now.action), now.before):
            detail = f"{was['action']} then, {now.action} now" if was["action"] != now.action else "its state moved"
            moved.append(f"{key[0]} on {key[1]}: {detail}")
    moved += [f"{node} on {host} is gone" for node, host in saved.operations if (node, host) not in plan.predictions
              and host not in plan.unreachable]
    if moved:
        raise Stale(moved)


def _operation(one: Prediction, secrets: Secrets) -> dict[str, Any]:
    return {
        "node": one.node, "host": one.host, "action": str(one.action), "certainty": str(one.certainty),
        "summary": secrets.redact(one.summary), "because": one.because, "way_back": secrets.redact(one.way_back),
        "before": one.before, "down": list(one.down),
        "diff": [_diff(part, secrets) for part in one.diff],
    }


def _diff(part: FieldDiff | TextDiff, secrets: Secrets) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        return secrets.redact(value) if isinstance(value, str) else value

    return {name: clean(value) for name, value in dataclasses.asdict(part).items()}
