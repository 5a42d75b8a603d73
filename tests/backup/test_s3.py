"""What is particular to S3, on a real Ceph gateway: parts, lost connections, object lock, a server that is gone."""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backup.conftest import Backups
from tests.backup.trees import snapshot
from tests.lab.s3 import ACCESS_KEY, SECRET_KEY, S3Server, why_unavailable
from ultraplan.backup.catalogue import choose, find, open_set
from ultraplan.backup.errors import BackupError, StoreError
from ultraplan.backup.read import read_set
from ultraplan.backup.restore import Wanted, restore
from ultraplan.backup.sources.files import LocalFiles
from ultraplan.backup.stores.s3 import Bucket, S3Store
from ultraplan.backup.write import create


@pytest.fixture(scope="module")
def server() -> S3Server:
    reason = why_unavailable()
    if reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return S3Server.of_this_run()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "default")


@pytest.fixture
def client(server: S3Server) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=server.endpoint)


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"b-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return name


class Relay:
    """A TCP relay to the server that breaks connections: each after a random number of bytes, so many in all."""

    def __init__(self, endpoint: str, breaks: int, seed: int, most: int = 3_000_000) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._target, self.left, self._most = (host, int(port)), breaks, most
        self._rng, self._lock = random.Random(seed), threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                with self._lock:
                    breaking = self.left > 0
                    after = self._rng.randrange(self._most) if breaking else None
                budget = [after]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._move, args=(one, other, budget), daemon=True).start()

    def _move(self, one: socket.socket, other: socket.socket, budget: list[int | None]) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if budget[0] is not None:
                    budget[0] -= len(data)
                    if budget[0] < 0:
                        with self._lock:
                            self.left -= 1
                        break
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def breaking(server: S3Server) -> Iterator[Any]:
    relays: list[Relay] = []

    def make(breaks: int, seed: int, most: int = 3_000_000) -> Relay:
        relays.append(Relay(server.endpoint, breaks, seed, most))
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()


def store_at(endpoint: str, bucket: str, **more: Any) -> S3Store:
    return S3Store(Bucket(name=bucket, endpoint_url=endpoint, sleep=lambda _: None, **more))


def test_a_set_lives_on_s3_from_making_to_restoring(
        server: S3Server, bucket: str, backups: Backups, tree: Path, tmp_path: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(20_000_000))
    store = store_at(server.endpoint, bucket, prefix="team/a")
    create(store, LocalFiles([str(tree)]), backups.order())
    opened = open_set(store, choose(store, "box"), backups.recovery.signers)
    (tmp_path / "target").mkdir()
    restore(store, opened, backups.reading, Wanted(target=tmp_path / "target"))
    assert snapshot(tmp_path / "target" / str(tree)[1:]) == snapshot(tree)


@pytest.mark.parametrize("seed", range(3))
def test_lost_connections_lose_nothing(bucket: str, breaking: Any, seed: int) -> None:
    relay = breaking(6, seed, 9_000_000)
    store, content = store_at(relay.endpoint, bucket), os.urandom(25_000_000)
    store.put("a/large", io.BytesIO(content))
    sink = io.BytesIO()
    store.get("a/large", sink)
    assert sink.getvalue() == content
    assert relay.left < 6, "no connection was broken, so nothing was tested"


@pytest.mark.parametrize("seed", range(3))
def test_an_exclusive_put_whose_answer_is_lost_knows_its_own(bucket: str, breaking: Any, seed: int) -> None:
    relay = breaking(3, seed, 600)
    store = store_at(relay.endpoint, bucket)
    store.put("a/COMMIT", io.BytesIO(b"mine"), exclusive=True)
    sink = io.BytesIO()
    store.get("a/COMMIT", sink)
    assert sink.getvalue() == b"mine"


def test_a_server_that_goes_away_leaves_no_set(
        server: S3Server, bucket: str, backups: Backups, tree: Path, breaking: Any) -> None:
    (tree / "data/large").write_bytes(os.urandom(20_000_000))
    relay = breaking(10**6, 1, 6_000_000)
    with pytest.raises(StoreError):
        create(store_at(relay.endpoint, bucket, patience=3.0), LocalFiles([str(tree)]), backups.order())
    direct = store_at(server.endpoint, bucket)
    assert find(direct)[0] == []


def test_uploads_that_died_are_swept(server: S3Server, bucket: str, client: Any) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="p/box/x/data")["UploadId"]
    client.upload_part(Bucket=bucket, Key="p/box/x/data", UploadId=upload, PartNumber=1, Body=bytes(5 << 20))
    store = store_at(server.endpoint, bucket, prefix="p")
    assert list(store.list()) == []
    assert store.sweep(3600) == 0
    assert store.sweep(-60) == 1
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_a_locked_object_cannot_be_destroyed(server: S3Server, client: Any) -> None:
    from botocore.exceptions import ClientError

    bucket = f"l-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    store = store_at(server.endpoint, bucket, lock=3600.0)
    store.put("a/b", io.BytesIO(b"kept"))
    [version] = client.list_object_versions(Bucket=bucket)["Versions"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key="a/b", VersionId=version["VersionId"])
    store.delete("a/b")  # hides it, as S3 does; the version stays
    assert client.get_object(Bucket=bucket, Key="a/b", VersionId=version["VersionId"])["Body"].read() == b"kept"


WRONG = {
    "a bucket that is not there": ({"name": "nothing-here"}, {}, "NoSuchBucket"),
    "a wrong secret": ({}, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
    "an unknown account": ({}, {"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
}


@pytest.mark.parametrize(("where", "environment", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, where: dict[str, str],
                               environment: dict[str, str], why: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = store_at(server.endpoint, where.get("name", bucket))
    with pytest.raises(StoreError, match=why) as told:
        store.put("a/b", io.BytesIO(b"x"))
    assert SECRET_KEY not in str(told.value)


def test_no_server_at_all_is_told() -> None:
    store = store_at("http://127.0.0.1:1", "bucket", patience=0.5)
    with pytest.raises(StoreError, match="s3://bucket"):
        list(store.list())


def test_an_object_that_changes_while_it_is_read_is_not_taken_for_one(
        server: S3Server, bucket: str, client: Any, backups: Backups, tree: Path) -> None:
    store = store_at(server.endpoint, bucket)
    made = create(store, LocalFiles([str(tree)]), backups.order())
    opened = open_set(store, choose(store, "box"), backups.recovery.signers)
    size = opened.manifest.objects["data.tar.zst.age"].size
    client.put_object(Bucket=bucket, Key=f"box/{made.manifest.set}/data.tar.zst.age", Body=b"x" * size)
    with pytest.raises(BackupError):
        read_set(store, opened, backups.reading)
