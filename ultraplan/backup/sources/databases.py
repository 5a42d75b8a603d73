"""Recipes for databases: each consistent by the database's own means, and checked by its own tool on the spot."""

from __future__ import annotations

from ultraplan.backup.sources.staged import Recipe
from ultraplan.shell import join, quote

# A second is the clock of LASTSAVE: a save that ends in the second of the one before could not be told from it.
_REDIS = """\
for program in redis-cli redis-check-rdb; do command -v $program >/dev/null || fail "$program is needed"; done
cli() {{ {environment}redis-cli {options} --no-auth-warning "$@"; }}
info() {{ cli INFO "$1" | tr -d '\\r' | sed -n "s/^$2://p"; }}
version=$(info server redis_version)
[ -n "$version" ] || fail "no answer from Redis: $(cli PING 2>&1)"
waited=0
while [ "$(info persistence rdb_bgsave_in_progress)" != 0 ]; do
	[ $((waited += 1)) -lt {patience} ] || fail 'an earlier BGSAVE does not end'
	sleep 1
done
before=$(cli LASTSAVE)
[ "$before" != "$(cli --raw TIME | head -n 1)" ] || sleep 1
said=$(cli BGSAVE) || fail "BGSAVE: $said"
case $said in *tarted*) ;; *) fail "BGSAVE: $said";; esac
waited=0
while saved=$(cli LASTSAVE); [ "$saved" = "$before" ] || [ "$(info persistence rdb_bgsave_in_progress)" != 0 ]; do
	[ "$(info persistence rdb_last_bgsave_status)" = ok ] || [ "$(info persistence rdb_bgsave_in_progress)" != 0 ] \\
		|| fail 'BGSAVE failed: see the log of Redis (memory for the fork, room on the disk?)'
	[ $((waited += 1)) -lt {patience} ] || fail 'BGSAVE does not end'
	sleep 1
done
[ "$(info persistence rdb_last_bgsave_status)" = ok ] || fail 'BGSAVE failed: see the log of Redis'
folder=$(cli --raw CONFIG GET dir | sed -n 2p) file=$(cli --raw CONFIG GET dbfilename | sed -n 2p)
case $folder in /*) ;; *) fail "Redis does not tell where its dump is (CONFIG GET dir: $folder)";; esac
mkdir -p "$UP_STAGE$folder" || exit 1
cp -p -- "$folder/$file" "$UP_STAGE$folder/$file" || exit 1
redis-check-rdb "$UP_STAGE$folder/$file" >"$UP_STAGE/.check" 2>&1 \\
	|| fail "the RDB is damaged: $(tail -n 3 "$UP_STAGE/.check")"
printf 'root=%s\\nversion.redis=%s\\nat=LASTSAVE %s\\n' "$folder/$file" "$version" "$saved"
"""

_POSTGRESQL = """\
for program in psql pg_dump pg_dumpall pg_restore; do
	command -v $program >/dev/null || fail "$program is needed"
done
export PGCONNECT_TIMEOUT=15 {environment}
ask() {{ psql -X -A -t -w -v ON_ERROR_STOP=1 -d {database} -c "$1"; }}
version=$(ask 'SHOW server_version') || exit 1
at=$(ask 'SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END') || exit 1
mkdir "$UP_STAGE/postgresql" || exit 1
pg_dump -w --format=directory --compress=0 --file="$UP_STAGE/postgresql/database" -d {database} || exit 1
pg_restore --list "$UP_STAGE/postgresql/database" >/dev/null || fail 'the dump cannot be read'
pg_dumpall -w --globals-only {globals} -l {database} >"$UP_STAGE/postgresql/globals.sql" || exit 1
printf 'root=postgresql\\nversion.postgresql=%s\\n' "$version"
printf 'version.pg_dump=%s\\nat=WAL %s\\n' "$(pg_dump --version)" "$at"
"""

_SQLITE = """\
command -v sqlite3 >/dev/null || fail 'sqlite3 is needed'
path={path}
[ -f "$path" ] || fail "$path is not there"
mkdir -p "$UP_STAGE${{path%/*}}" || exit 1
cp -p -- "$path" "$UP_STAGE$path" || exit 1
cd "$UP_STAGE${{path%/*}}" || exit 1
sqlite3 -bail -readonly -cmd '.timeout {patience}000' "$path" ".backup 'ultraplan.copy'" || exit 1
[ "$(sqlite3 -bail -readonly ultraplan.copy 'PRAGMA integrity_check')" = ok ] || fail "$path fails its integrity check"
cat ultraplan.copy >"${{path##*/}}" && rm -f ultraplan.copy || exit 1
printf 'root=%s\\nversion.sqlite=%s\\nat=online backup\\n' "$path" "$(sqlite3 --version | cut -d ' ' -f 1)"
"""


def redis(*, port: int = 6379, address: str = "127.0.0.1", socket: str | None = None,
          password_file: str | None = None, patience: int = 600) -> Recipe:
    """The RDB that a BGSAVE makes now, under the path where Redis keeps it: restoring that file while Redis is stopped
    brings the data back. ``password_file``: a file of the host. ``patience``: seconds."""
    where = ["-s", socket] if socket else ["-h", address, "-p", str(port)]
    secret = f'REDISCLI_AUTH="$(cat -- {quote(password_file)})" ' if password_file else ""
    return Recipe(
        kind="redis", program=_REDIS.format(environment=secret, options=join(where), patience=patience),
        settings={"socket": socket} if socket else {"address": address, "port": port},
        afterwards="5. Stop Redis, put the RDB in its place with its owner, start Redis. With `appendonly yes`, Redis\n"
                   "   would load the append-only file instead: start it once with `appendonly no`, and then\n"
                   "   `CONFIG SET appendonly yes`.\n")


def postgresql(database: str, *, address: str | None = None, port: int | None = None, user: str | None = None,
               passwords: bool = True) -> Recipe:
    """A dump of one database in pg_dump's directory format, and the roles and tablespaces of the server. Who asks is
    the step's account; passwords come from its ``.pgpass``. Without ``passwords``, roles are dumped without theirs
    (with them, it takes a superuser)."""
    settings = {"PGHOST": address, "PGPORT": None if port is None else str(port), "PGUSER": user}
    return Recipe(
        kind="postgresql", settings={"database": database, "address": address, "port": port},
        program=_POSTGRESQL.format(
            environment=" ".join(f"{name}={quote(value)}" for name, value in settings.items() if value),
            database=quote(database), globals="" if passwords else "--no-role-passwords"),
        afterwards="5. Roles first, then the database, into a server that does not have it:\n\n"
                   "    psql -X -d postgres -f restored/postgresql/globals.sql\n"
                   "    pg_restore --create --exit-on-error -d postgres restored/postgresql/database\n")


def sqlite(path: str, *, patience: int = 60) -> Recipe:
    """A copy of a database file by SQLite's online backup, under its own path; checked with ``integrity_check``."""
    return Recipe(
        kind="sqlite", program=_SQLITE.format(path=quote(path), patience=patience), settings={"path": path},
        afterwards="5. Stop what uses the database, put the file in its place, remove its -wal and -shm files.\n")
