"""The places for backups that the conformance suite runs on. A new store adds itself to `PLACES`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.conformance.transports import opened
from ultraplan.backup.stores.base import Store
from ultraplan.backup.stores.local import LocalStore
from ultraplan.backup.stores.s3 import Bucket, S3Store
from ultraplan.backup.stores.ssh import SshStore


@contextmanager
def _local(folder: Path) -> Iterator[Store]:
    yield LocalStore(folder)


def _over(transport: str) -> Callable[[Path], AbstractContextManager[Store]]:
    @contextmanager
    def place(folder: Path) -> Iterator[Store]:
        with opened(transport) as connection:
            yield SshStore(connection, str(folder))

    return place


@contextmanager
def _s3(folder: Path) -> Iterator[Store]:
    """A bucket for each test, on the server that all test processes share."""
    import boto3

    from tests.lab.s3 import ACCESS_KEY, SECRET_KEY, S3Server, why_unavailable

    reason = why_unavailable()
    if reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    server = S3Server.of_this_run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "default")
        name = f"b-{uuid.uuid4().hex}"
        boto3.client("s3", endpoint_url=server.endpoint).create_bucket(Bucket=name)
        yield S3Store(Bucket(name=name, prefix="some/where", endpoint_url=server.endpoint))


PLACES: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "local": _local, "ssh-dash": _over("ssh-dash"), "ssh-busybox": _over("ssh-busybox"),
    "s3": _s3,
}
"""From a store's kind to what opens a store in an empty folder (or a bucket of its own)."""
