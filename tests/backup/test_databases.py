"""Databases under write load, backed up, destroyed and restored: real servers from Debian's packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from tests.backup.test_steps import linked
from ultraplan.backup.errors import SourceFailed
from ultraplan.backup.sources import databases
from ultraplan.backup.sources.staged import Recipe, Staged
from ultraplan.backup.write import Made, create

PG = Path("/usr/lib/postgresql/15/bin")


def needs(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {', '.join(missing)}")


def back_up(backups: Backups, recipe: Recipe, transport: str = "local-dash") -> Made:
    with linked(transport) as link:
        return create(backups.store, Staged(link, recipe), backups.order())


def stages() -> list[Path]:
    return list(Path("/var/tmp").glob("ultraplan-backup-*"))


# -- Redis


class Redis:
    """A server on a socket of its own."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder, self.more = folder, more
        folder.mkdir(exist_ok=True)
        self.socket = str(folder / "s")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder), "--save", "",
             "--dbfilename", "the dump.rdb", *self.more], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while self.cli("PING") != "PONG":
            assert time.monotonic() < until
            time.sleep(0.05)

    def cli(self, *words: str) -> str:
        done = subprocess.run(["redis-cli", "-s", self.socket, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    needs("redis-server", "redis-cli", "redis-check-rdb")
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()


@pytest.mark.parametrize("transport", ["local-dash", "ssh-dash"])
def test_redis_under_load_is_backed_up_destroyed_and_restored(
        backups: Backups, redis: Redis, transport: str) -> None:
    redis.cli("MSET", *(word for number in range(1000) for word in (f"fixed:{number}", f"value {number}")))
    stop = threading.Event()

    def load() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            redis.cli("MULTI")
            redis.cli("SET", "counter", str(count))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        made = back_up(backups, databases.redis(socket=redis.socket), transport)
    finally:
        stop.set()
        thread.join()
    assert made.manifest.consistency.kind == "point"
    assert (made.manifest.consistency.at or "").startswith("LASTSAVE ")
    assert made.manifest.source.versions["redis"].count(".") == 2
    redis.stop()
    shutil.rmtree(redis.folder)
    redis.folder.mkdir()
    backups.restore(Path("/"))
    redis.start()
    assert redis.cli("DBSIZE") == "1001"
    assert [redis.cli("GET", f"fixed:{number}") for number in (0, 500, 999)] == ["value 0", "value 500", "value 999"]
    assert stages() == []


def test_a_second_backup_right_after_the_first_has_what_was_written_between(backups: Backups, redis: Redis) -> None:
    """LASTSAVE counts seconds: the second save must not be taken for the first."""
    back_up(backups, databases.redis(socket=redis.socket))
    redis.cli("SET", "late", "yes")
    back_up(backups, databases.redis(socket=redis.socket))
    redis.stop()
    backups.restore(Path("/"))
    redis.start()
    assert redis.cli("GET", "late") == "yes"


def test_a_redis_whose_save_fails_makes_no_set(backups: Backups, redis: Redis) -> None:
    redis.cli("SET", "a", "1")
    shutil.rmtree(redis.folder / "gone", ignore_errors=True)
    (redis.folder / "the dump.rdb").mkdir()  # so that the file cannot be renamed into place
    with pytest.raises(SourceFailed, match=r"BGSAVE failed|RDB|dump"):
        back_up(backups, databases.redis(socket=redis.socket, patience=20))
    assert list(backups.store.list()) == []
    assert stages() == []


def test_no_redis_at_all_is_told(backups: Backups, tmp_path: Path) -> None:
    needs("redis-cli", "redis-check-rdb")
    with pytest.raises(SourceFailed, match="no answer from Redis"):
        back_up(backups, databases.redis(socket=str(tmp_path / "none")))
    assert stages() == []


def test_a_password_comes_from_a_file_of_the_host(backups: Backups, tmp_path: Path) -> None:
    needs("redis-server", "redis-cli", "redis-check-rdb")
    server = Redis(tmp_path / "redis")
    try:
        server.cli("SET", "a", "1")
        server.cli("CONFIG", "SET", "requirepass", "hush 'quoted'")
        (tmp_path / "password").write_text("hush 'quoted'\n")
        with pytest.raises(SourceFailed):
            back_up(backups, databases.redis(socket=server.socket))
        back_up(backups, databases.redis(socket=server.socket, password_file=str(tmp_path / "password")))
    finally:
        server.stop()


# -- PostgreSQL


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A server's folder of sockets, and its port."""
    if not (PG / "initdb").exists() or os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs postgresql, and root to become postgres")
    needs("psql", "pg_dump")
    folder = Path(f"/tmp/ultraplan-pg-{os.getpid()}")
    folder.mkdir(mode=0o755)
    shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    def as_postgres(*words: str) -> None:
        subprocess.run(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words], check=True,
                       stdout=subprocess.DEVNULL, cwd="/")

    try:
        as_postgres(str(PG / "initdb"), "-D", f"{folder}/data", "-A", "trust", "--no-sync", "-U", "postgres")
        as_postgres(str(PG / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o",
                    f"-p {port} -k {folder} -c listen_addresses='' -c fsync=off", "start")
        yield str(folder), port
        as_postgres(str(PG / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def psql(server: tuple[str, int], database: str, text: str) -> str:
    done = subprocess.run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-h", server[0], "-p", str(server[1]), "-U",
                           "postgres", "-d", database, "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_postgresql_under_load_is_backed_up_destroyed_and_restored(
        backups: Backups, postgres: tuple[str, int], tmp_path: Path) -> None:
    """Two accounts whose sum never changes: any other sum is a torn backup."""
    name = "it's a \"db\""
    psql(postgres, "postgres", f'CREATE DATABASE "{name.replace(chr(34), chr(34) * 2)}"')
    psql(postgres, "postgres", "CREATE ROLE teller")
    psql(postgres, name, "CREATE TABLE account (id int PRIMARY KEY, balance int); "
                         "INSERT INTO account SELECT n, 100 FROM generate_series(1, 200) n; "
                         "GRANT SELECT ON account TO teller")
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            psql(postgres, name, "BEGIN; UPDATE account SET balance = balance - 1 WHERE id = 1 + random() * 99;"
                                 "UPDATE account SET balance = balance + (20000 - (SELECT sum(balance) FROM account)) "
                                 "WHERE id = 200; COMMIT")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        made = back_up(backups, databases.postgresql(name, address=postgres[0], port=postgres[1], user="postgres"))
    finally:
        stop.set()
        thread.join()
    assert (made.manifest.consistency.at or "").startswith("WAL ")
    psql(postgres, "postgres", f'DROP DATABASE "{name.replace(chr(34), chr(34) * 2)}"')
    psql(postgres, "postgres", "DROP ROLE teller")
    target = tmp_path / "restored"
    backups.restore(target)
    common = ["-h", postgres[0], "-p", str(postgres[1]), "-U", "postgres", "-d", "postgres"]
    subprocess.run(["psql", "-Xqw", *common, "-f", str(target / "postgresql/globals.sql")], check=True,
                   capture_output=True)
    subprocess.run(["pg_restore", "-w", "--create", "--exit-on-error", *common, str(target / "postgresql/database")],
                   check=True)
    assert psql(postgres, name, "SELECT count(*), sum(balance) FROM account") == "200|20000"
    assert psql(postgres, name, "SELECT has_table_privilege('teller', 'account', 'SELECT')") == "t"
    assert stages() == []


def test_a_database_that_is_not_there_makes_no_set(backups: Backups, postgres: tuple[str, int]) -> None:
    with pytest.raises(SourceFailed, match="does not exist"):
        back_up(backups, databases.postgresql("nothing", address=postgres[0], port=postgres[1], user="postgres"))
    assert list(backups.store.list()) == []
    assert stages() == []


# -- SQLite


def test_sqlite_under_load_is_backed_up_whole_and_restored(backups: Backups, tmp_path: Path) -> None:
    needs("sqlite3")
    file = tmp_path / "it's a db?.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE pair (a INTEGER, b INTEGER)")
        database.executemany("INSERT INTO pair VALUES (?, ?)", [(n, -n) for n in range(5000)])
        database.commit()
    file.chmod(0o640)
    stop = threading.Event()

    def load() -> None:
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as database:
            while not stop.is_set():
                database.execute("UPDATE pair SET a = a + 1, b = b - 1 WHERE a % 7 = 0")
                database.commit()
                time.sleep(0.002)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        made = back_up(backups, databases.sqlite(str(file)))
    finally:
        stop.set()
        thread.join()
    assert made.manifest.consistency.kind == "point"
    for each in tmp_path.glob("it's a db?.sqlite*"):
        each.unlink()
    backups.restore(Path("/"))
    assert file.stat().st_mode & 0o777 == 0o640
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*), sum(a + b) FROM pair").fetchone() == (5000, 0)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stages() == []


def test_a_damaged_sqlite_file_makes_no_set(backups: Backups, tmp_path: Path) -> None:
    needs("sqlite3")
    file = tmp_path / "db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 500)
        database.commit()
    content = bytearray(file.read_bytes())
    content[8192:12288] = os.urandom(4096)
    file.write_bytes(content)
    with pytest.raises(SourceFailed):
        back_up(backups, databases.sqlite(str(file)))
    assert list(backups.store.list()) == []
    assert stages() == []
