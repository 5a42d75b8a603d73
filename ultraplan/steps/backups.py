"""Backup sets in plans: `backup`, `backup_verify` and `backup_prune` (docs/explanation/backup-format.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ultraplan.language.values import Duration
from ultraplan.shell import Program, Reply
from ultraplan.steps.base import (
    Change,
    Context,
    ControllerStep,
    FieldDiff,
    HostAccess,
    State,
    StepFailed,
    WayBack,
    Writer,
)
from ultraplan.steps.params import AbsolutePath

if TYPE_CHECKING:
    from ultraplan.backup.keys import KeyFile
    from ultraplan.backup.sources.base import Reads
    from ultraplan.backup.sources.host import Link
    from ultraplan.backup.stores.base import Store as BackupStore

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description=(
    "What it is a backup of; one for each host: `{{ host.name }}-etc`"))]
Place = Annotated[str, Meta(min_length=1, description=(
    "Where sets are kept: a folder of the controller, `ssh://HOST/path` or `s3://BUCKET/PREFIX?endpoint_url=…`"))]
KeyFiles = Annotated[list[str], Meta(min_length=1, description=(
    "Key files of the controller, beside the plan or absolute: recovery.pub, or recovery.key where sets are read"))]


Port = Annotated[int, Meta(ge=1, le=65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSource:
    """A Redis server of the host."""

    port: Annotated[Port, Meta(description="Its port")] = 6379
    address: Annotated[str, Meta(min_length=1, description="Its address, as the host sees it")] = "127.0.0.1"
    socket: Annotated[AbsolutePath | None, Meta(description="Its Unix socket, in place of address and port")] = None
    password_file: Annotated[AbsolutePath | None, Meta(description="A file of the host with its password")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlSource:
    """A database of a PostgreSQL server that the host reaches."""

    database: Annotated[str, Meta(min_length=1, description="The database")]
    address: Annotated[str | None, Meta(description="The server, or its folder of sockets")] = None
    port: Annotated[Port | None, Meta(description="Its port")] = None
    user: Annotated[str | None, Meta(description="Who asks; passwords come from the account's .pgpass")] = None
    passwords: Annotated[bool, Meta(description="Whether roles are dumped with theirs, as a superuser can")] = True


SOURCES = ("paths", "redis", "postgresql", "sqlite")
"""The parameters of `backup` that say what is backed up: one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupParams:
    """Parameters of `backup`."""

    name: Name
    store: Place
    keys: KeyFiles
    signing_key: Annotated[str, Meta(min_length=1, description="signing.key, beside the plan or absolute")]
    paths: Annotated[list[AbsolutePath], Meta(description="Files and folders of the host")] = field(
        default_factory=list)
    redis: Annotated[RedisSource | None, Meta(description=(
        "The RDB of a BGSAVE that is awaited and checked, under the path where Redis keeps it"))] = None
    postgresql: Annotated[PostgresqlSource | None, Meta(description=(
        "A dump of one database (pg_dump, directory format) with the server's roles"))] = None
    sqlite: Annotated[AbsolutePath | None, Meta(description=(
        "A database file, copied by SQLite's online backup and checked, under its own path"))] = None
    exclude: Annotated[list[str], Meta(description=(
        "Shell patterns to leave out; one with a slash is held against the whole path"))] = field(default_factory=list)
    one_file_system: Annotated[bool, Meta(description="Do not go into what is mounted below")] = False
    unchanged: Annotated[bool, Meta(description=(
        "Fail, and make no set, where a file changes while it is read"))] = False


class Backup(ControllerStep[BackupParams]):
    """A set of files or of a database, streamed from the host's tar through the controller into the store."""

    name = "backup"
    summary = "Make a backup set of files, Redis, PostgreSQL or SQLite: encrypted, signed, restorable without ultraplan"
    Params = BackupParams
    way_back = WayBack.READ_ONLY
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "set": "the set, as `NAME/SET`", "files": "how many files it holds", "size": "their bytes in all",
        "stored": "bytes in the store", "manifest_sha256": "the digest of its manifest",
        "changed": "how many files changed while they were read",
    }
    example = """\
- id: safe
  backup:
    name: "{{ host.name }}-etc"
    paths: [/etc/mcp-bridge, /var/lib/mcp-bridge]
    exclude: ["*.sock"]
    store: s3://mcp-backups/daily?endpoint_url=https://s3.example.org
    keys: [keys/recovery.pub]
    signing_key: keys/signing.key

- id: sessions
  backup:
    name: "{{ host.name }}-redis"
    redis: {socket: /run/redis/redis-server.sock}
    store: s3://mcp-backups/daily?endpoint_url=https://s3.example.org
    keys: [keys/recovery.pub]
    signing_key: keys/signing.key
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        given = [name for name in SOURCES if raw.get(name)]
        if len(given) == 1:
            return bad_place(raw)
        wrong = f"{' and '.join(given)} are several sources" if given else "it is not said what is backed up"
        return [*bad_place(raw), ((), f"{wrong}: say one of {', '.join(SOURCES)}")]

    def resources(self, params: BackupParams) -> tuple[str, ...]:
        paths = [*params.paths, *([params.sqlite] if params.sqlite else [])]
        return tuple(f"tree:{path.rstrip('/') or '/'}" for path in paths)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return ()  # nothing on the host

    def decide(self, params: BackupParams, state: State) -> Change | None:
        return Change(summary=f"back up {_what(params)} as {params.name} to {shown_place(params.store)}")

    def act(self, params: BackupParams, state: State, context: Context) -> Mapping[str, Any]:
        from ultraplan.backup.catalogue import newest
        from ultraplan.backup.keys import public_text, signing_key
        from ultraplan.backup.write import Order, create

        with told(), closing(open_place(params.store, context)) as store:
            keys = key_files(params.keys, context)
            signing = signing_key(context.base / Path(params.signing_key).expanduser())
            if public_text(signing) not in keys.signers:
                raise StepFailed(f"{params.signing_key} is not the key that {', '.join(params.keys)} says sets are "
                                 "signed with")
            before = newest(store, params.name, keys.signers)
            made = create(store, _source(params, _Link(context.host)), Order(
                name=params.name, keys=keys, signing=signing, parent=before.parent if before else None,
                unchanged=params.unchanged, read=Stoppable(context).tick))
        content = made.manifest.content
        for note in made.notes[:20]:
            context.log(f"{note.path.decode('utf-8', 'backslashreplace')}: {note.text}")
        return {"set": f"{params.name}/{made.manifest.set}", "files": content.files, "size": content.bytes,
                "stored": sum(one.size for one in made.manifest.objects.values()),
                "manifest_sha256": made.manifest_sha256, "changed": content.changed}


def _source(params: BackupParams, link: Link) -> Reads:
    from ultraplan.backup.sources import databases
    from ultraplan.backup.sources.host import HostFiles
    from ultraplan.backup.sources.staged import Staged

    if (redis := params.redis) is not None:
        return Staged(link, databases.redis(port=redis.port, address=redis.address, socket=redis.socket,
                                            password_file=redis.password_file))
    if (postgresql := params.postgresql) is not None:
        return Staged(link, databases.postgresql(
            postgresql.database, address=postgresql.address, port=postgresql.port, user=postgresql.user,
            passwords=postgresql.passwords))
    if params.sqlite is not None:
        return Staged(link, databases.sqlite(params.sqlite))
    return HostFiles(link, params.paths, params.exclude, params.one_file_system)


def _what(params: BackupParams) -> str:
    if params.redis is not None:
        return f"Redis at {params.redis.socket or f'{params.redis.address}:{params.redis.port}'}"
    if params.postgresql is not None:
        return f"PostgreSQL's {params.postgresql.database}"
    return ", ".join([params.sqlite] if params.sqlite else params.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyParams:
    """Parameters of `backup_verify`."""

    set: Annotated[str, Meta(min_length=1, description="`NAME` (its newest set) or `NAME/SET`")]
    store: Place
    keys: KeyFiles
    level: Annotated[Literal["manifest", "read", "restore"], Meta(description=(
        "manifest: signature and sizes; read: every byte; restore: unpacked on the controller and compared"))] = "read"
    max_age: Annotated[Duration | None, Meta(description="How far back the set may go, at most (the RPO)")] = None


class BackupVerify(ControllerStep[VerifyParams]):
    """Whether a set could be restored."""

    name = "backup_verify"
    verifies_backup = True
    summary = "Fail unless a backup set is whole, signed, and young enough"
    Params = VerifyParams
    way_back = WayBack.READ_ONLY
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "set": "the set, as `NAME/SET`", "files": "how many files it holds", "size": "their bytes in all",
        "age": "how far back it goes, in seconds",
    }
    example = """\
- id: restorable
  backup_verify:
    set: "{{ host.name }}-etc"
    store: s3://mcp-backups/daily?endpoint_url=https://s3.example.org
    keys: [keys/recovery.key]
    level: restore
    max_age: 24h
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return bad_place(raw)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return ()

    def decide(self, params: VerifyParams, state: State) -> Change | None:
        return Change(summary=f"verify {params.set} in {shown_place(params.store)}, level {params.level}")

    def act(self, params: VerifyParams, state: State, context: Context) -> Mapping[str, Any]:
        from ultraplan.backup.catalogue import choose, note_verified, open_set
        from ultraplan.backup.read import Reading, read_set
        from ultraplan.backup.restore import rehearse

        with told(), closing(open_place(params.store, context)) as store:
            keys = key_files(params.keys, context)
            name, _, which = params.set.partition("/")
            opened = open_set(store, choose(store, name, which or "latest"), keys.signers)
            age = (datetime.now(UTC) - opened.manifest.point).total_seconds()
            if params.max_age is not None and age > params.max_age:
                raise StepFailed(f"{opened.found.ref} goes back {Duration(round(age))}, {params.max_age} is allowed")
            reading = Reading(identities=keys.identities, tick=Stoppable(context).tick)
            if params.level == "read":
                read_set(store, opened, reading)
            elif params.level == "restore":
                rehearse(store, opened, reading)
            note_verified(store, opened.found, params.level, datetime.now(UTC))
        content = opened.manifest.content
        return {"set": opened.found.ref, "files": content.files, "size": content.bytes, "age": age}


Keep = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneParams:
    """Parameters of `backup_prune`: what is kept."""

    store: Place
    keys: KeyFiles
    name: Annotated[str | None, Meta(description="Only sets of this name")] = None
    keep_last: Annotated[Keep, Meta(description="So many of the newest")] = 0
    keep_hourly: Annotated[Keep, Meta(description="The newest of each of so many hours")] = 0
    keep_daily: Annotated[Keep, Meta(description="The newest of each of so many days")] = 0
    keep_weekly: Annotated[Keep, Meta(description="The newest of each of so many ISO weeks")] = 0
    keep_monthly: Annotated[Keep, Meta(description="The newest of each of so many months")] = 0
    keep_yearly: Annotated[Keep, Meta(description="The newest of each of so many years")] = 0
    keep_within: Annotated[Duration | None, Meta(description="Everything younger than this")] = None


class BackupPrune(ControllerStep[PruneParams]):
    """Removes the sets that no rule keeps; the preview names each, and why the others stay."""

    name = "backup_prune"
    summary = "Remove the backup sets that no rule keeps; never the newest, the newest verified, or what is held"
    Params = PruneParams
    way_back = WayBack.DECLARED
    outputs_doc: ClassVar[Mapping[str, str]] = {"removed": "the sets that are gone, as `NAME/SET`"}
    example = """\
- id: thirty-days
  backup_prune:
    store: s3://mcp-backups/daily?endpoint_url=https://s3.example.org
    keys: [keys/recovery.pub]
    keep_within: 30d
    keep_monthly: 12
  irreversible: what retention removes is gone
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        kept = [name for name in raw if name.startswith("keep_")]
        if not kept:
            return [*bad_place(raw), ((), "nothing is kept, so everything would be removed: say what to keep, for "
                                           "example `keep_last: 3` or `keep_within: 30d`")]
        return bad_place(raw)

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        return ()

    def observe(self, params: PruneParams, context: Context) -> State:
        from ultraplan.backup.retention import Policy
        from ultraplan.backup.upkeep import preview_prune

        policy = Policy(last=params.keep_last, hourly=params.keep_hourly, daily=params.keep_daily,
                        weekly=params.keep_weekly, monthly=params.keep_monthly, yearly=params.keep_yearly,
                        within=float(params.keep_within or 0.0))
        with told(), closing(open_place(params.store, context)) as store:
            signers = key_files(params.keys, context).signers
            pruning = preview_prune(store, signers, policy, datetime.now(UTC), params.name)
        return State({"stay": {one.candidate.set: ", ".join(one.reasons) for one in pruning.verdicts if one.stays},
                      "go": [one.found.ref for one in pruning.going], "remains": [one.ref for one in pruning.remains],
                      "refused": {found.ref: why for found, why in pruning.bad}}, {"pruning": pruning})

    def decide(self, params: PruneParams, state: State) -> Change | None:
        go, remains = state.facts["go"], state.facts["remains"]
        if not go and not remains:
            return None
        return Change(
            summary=f"remove {len(go)} of {len(go) + len(state.facts['stay'])} sets from {shown_place(params.store)}",
            diff=(*(FieldDiff(one, "there", None, "no rule keeps it") for one in go),
                  *(FieldDiff(one, "never completed", None) for one in remains)))

    def act(self, params: PruneParams, state: State, context: Context) -> Mapping[str, Any]:
        from ultraplan.backup.upkeep import prune

        with told(), closing(open_place(params.store, context)) as store:
            return {"removed": prune(store, state.detail["pruning"], lambda one: context.log(f"{one} is gone"))}


class _Link:
    """A host of a plan as the source of a backup."""

    def __init__(self, host: HostAccess) -> None:
        self._host = host
        self.name, self.address = host.name, host.address

    def look(self, text: str) -> Reply:
        return self._host.run(Program(text))

    def stream(self, text: str, sink: Writer) -> Reply:
        return self._host.stream(Program(text), sink)


class Stoppable:
    """Lets a run that is being stopped stop a transfer."""

    def __init__(self, context: Context) -> None:
        self._wait = context.wait

    def tick(self, _: int) -> None:
        self._wait(0.0)


@contextmanager
def told() -> Iterator[None]:
    """What a backup says of its failure, as a step's."""
    from ultraplan.backup.errors import BackupError

    try:
        yield
    except BackupError as error:
        raise StepFailed(f"{error}\n{error.hint}" if error.hint else str(error)) from None


def open_place(url: str, context: Context) -> BackupStore:
    """The store of a plan; a relative folder is beside the plan."""
    from ultraplan.backup.stores.urls import connection, local_path, open_store

    if local_path(url) is not None and "://" not in url:
        url = str(context.base / Path(url).expanduser())
    return open_store(url, connection)


def key_files(files: list[str], context: Context) -> KeyFile:
    """What the key files of a plan say."""
    from ultraplan.backup.keys import read_keys

    return read_keys(context.base / Path(file).expanduser() for file in files)


def bad_place(raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """A store that cannot be one, as far as the text tells."""
    url = raw.get("store")
    if isinstance(url, str) and "://" in url and "{{" not in url \
            and url.partition("://")[0] not in ("file", "ssh", "s3"):
        return [(("store",), f"{url!r} is no place for backups: a folder, ssh:// or s3://")]
    return []


def shown_place(url: str) -> str:
    """A store's URL for people: without its options."""
    return url.partition("?")[0]


STEPS = (Backup, BackupVerify, BackupPrune)
"""The step types of this family."""
