"""A bucket of an S3 server as a store.

Large objects go up in parts while they are made: an upload that dies leaves parts that nobody lists, and `sweep`
removes them. A part that is lost on the way is sent again. Exclusive puts are conditional (``If-None-Match: *``): of
several at once exactly one wins on unversioned buckets; on versioned ones, which object lock needs, Ceph lets several.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from ultraplan.backup.errors import AlreadyThere, StoreError
from ultraplan.backup.names import is_key
from ultraplan.backup.stores.base import Reader, Stored, Writer

T = TypeVar("T")
Parts = list[dict[str, Any]]

_MEBIBYTE = 1 << 20
_PART = 8 * _MEBIBYTE  # S3 takes no less than 5 MiB, but for the last part
_AT_ONCE = 2
_GROWS_EVERY = 1000  # S3 takes 10,000 parts: their size grows, so that an object may have 5 TB
_LARGEST_PART = 1 << 29
_TRIES = 6
_TRANSIENT = frozenset((
    "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "InternalError", "ServiceUnavailable", "BadDigest",
    "Throttling", "500", "502", "503", "504"))
_TAKEN = frozenset(("PreconditionFailed", "ConditionalRequestConflict", "412", "409"))
_GONE = frozenset(("NoSuchKey", "NoSuchUpload", "404"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where: ``prefix`` of all keys, ``endpoint_url`` for servers other than Amazon's. ``lock``: seconds that objects
    can be removed by nobody (compliance mode; the bucket must have object lock). ``patience``: seconds until what fails
    is given up."""

    name: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    lock: float | None = None
    patience: float = 120.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class S3Store:
    """Objects in a bucket. Credentials come from where boto3 looks: the environment, ``~/.aws``, the instance."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._prefix = f"{bucket.prefix.strip('/')}/" if bucket.prefix.strip("/") else ""
        self.url = f"s3://{bucket.name}/{self._prefix}".rstrip("/")
        self._made: Any = None
        self._lock = threading.Lock()

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """See `Store.list`."""
        found: list[Stored] = []
        token: dict[str, Any] = {}
        while True:
            page = self._try(partial(self._client.list_objects_v2, Bucket=self._bucket.name,
                                     Prefix=self._prefix + prefix, **token), "cannot be listed")
            for one in page.get("Contents", []):
                key = one["Key"].removeprefix(self._prefix)
                if is_key(key):
                    found.append(Stored(key, one["Size"]))
            if not page.get("IsTruncated"):
                return iter(sorted(found, key=lambda stored: stored.key))
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def put(self, key: str, source: Reader, *, exclusive: bool = False) -> None:
        """See `Store.put`."""
        name = self._name(key)
        first = _filled(source, _PART)
        if len(first) < _PART:
            self._put_small(key, name, first, exclusive)
        else:
            self._put_large(key, name, first, source, exclusive)

    def get(self, key: str, sink: Writer) -> None:
        """See `Store.get`. Goes on where a connection broke."""
        name, at, until = self._name(key), 0, time.monotonic() + self._bucket.patience
        size, etag = -1, ""
        while size < 0 or at < size:
            more = {"Range": f"bytes={at}-", "IfMatch": etag} if size >= 0 else {}
            answer = self._try(partial(self._client.get_object, Bucket=self._bucket.name, Key=name, **more),
                               f"{key} cannot be read")
            if size < 0:
                size, etag = answer["ContentLength"], answer["ETag"]
            before = at
            at = self._receive(answer["Body"], sink, at)
            if at > before:
                until = time.monotonic() + self._bucket.patience
            elif at < size and time.monotonic() > until:
                raise StoreError(f"{self.url}: {key} breaks off at byte {at}")

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        name = self._name(key)
        self._try(lambda: self._client.delete_object(Bucket=self._bucket.name, Key=name), f"{key} cannot be removed")

    def sweep(self, older_than: float) -> int:
        """See `Store.sweep`: gives up uploads that were begun and never completed."""
        latest, removed = datetime.now(UTC) - timedelta(seconds=older_than), 0
        answer = self._try(lambda: self._client.list_multipart_uploads(
            Bucket=self._bucket.name, Prefix=self._prefix), "cannot be swept")
        for upload in answer.get("Uploads", []):
            if upload["Initiated"] <= latest:
                self._abort(upload["Key"], upload["UploadId"])
                removed += 1
        return removed

    def close(self) -> None:
        """See `Store.close`."""
        if self._made is not None:
            self._made.close()

    # -- below: how

    def _name(self, key: str) -> str:
        if not is_key(key):
            raise StoreError(f"{key!r} cannot be the name of an object")
        return self._prefix + key

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                self._made = boto3.session.Session().client(
                    "s3", endpoint_url=self._bucket.endpoint_url, region_name=self._bucket.region,
                    config=Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 2},
                                  max_pool_connections=8, s3={"addressing_style": "path"} if self._bucket.endpoint_url
                                  else {}, request_checksum_calculation="when_required",
                                  response_checksum_validation="when_required"))
            return self._made

    def _locked(self) -> dict[str, Any]:
        if self._bucket.lock is None:
            return {}
        until = datetime.now(UTC) + timedelta(seconds=self._bucket.lock)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}

    def _put_small(self, key: str, name: str, content: bytes, exclusive: bool) -> None:
        condition = {"IfNoneMatch": "*"} if exclusive else {}
        tried = [0]

        def put() -> object:
            tried[0] += 1
            return self._client.put_object(Bucket=self._bucket.name, Key=name, Body=content,
                                           ContentMD5=_md5(content), **condition, **self._locked())

        try:
            self._try(put, f"{key} cannot be stored")
        except AlreadyThere:
            # Our own first try may have come through although its answer did not.
            if tried[0] == 1 or self._content(name) != content:
                raise

    def _put_large(self, key: str, name: str, first: bytes, source: Reader, exclusive: bool) -> None:
        if exclusive and self._there(name):
            raise AlreadyThere(f"{self.url}: {key} is there already")
        upload = self._try(lambda: self._client.create_multipart_upload(
            Bucket=self._bucket.name, Key=name, **self._locked()), f"{key} cannot be stored")["UploadId"]
        try:
            parts = self._send_parts(key, name, upload, first, source)
            if exclusive and self._there(name):  # Ceph passes over the condition on completion
                raise AlreadyThere(f"{self.url}: {key} is there already")
            condition = {"IfNoneMatch": "*"} if exclusive else {}
            try:
                self._try(lambda: self._client.complete_multipart_upload(
                    Bucket=self._bucket.name, Key=name, UploadId=upload, MultipartUpload={"Parts": parts},
                    **condition), f"{key} cannot be completed")
            except _Gone:
                # Completed by a try whose answer was lost, if what is there is what we sent.
                if self._etag(name) != _etag(parts):
                    raise
        except BaseException:
            self._abort(name, upload)
            raise

    def _send_parts(self, key: str, name: str, upload: str, first: bytes, source: Reader) -> Parts:
        """Send all parts, a few at a time; memory holds no more than these."""
        parts: Parts = []
        waiting: deque[tuple[int, Future[str]]] = deque()

        def settle() -> None:
            number, future = waiting.popleft()
            parts.append({"PartNumber": number, "ETag": future.result()})

        def send(number: int, content: bytes) -> str:
            answer = self._try(lambda: self._client.upload_part(
                Bucket=self._bucket.name, Key=name, UploadId=upload, PartNumber=number, Body=content,
                ContentMD5=_md5(content)), f"part {number} of {key} cannot be stored")
            return str(answer["ETag"])

        with ThreadPoolExecutor(_AT_ONCE, "s3-part") as pool:
            try:
                content, number = first, 1
                while content:
                    waiting.append((number, pool.submit(send, number, content)))
                    content = b""
                    if len(waiting) >= _AT_ONCE:
                        settle()
                    number += 1
                    content = _filled(source, min(_PART << (number // _GROWS_EVERY), _LARGEST_PART))
                while waiting:
                    settle()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return parts

    def _receive(self, body: Any, sink: Writer, at: int) -> int:
        """Move what comes into ``sink``; where it breaks off, gives how far it came."""
        from botocore.exceptions import HTTPClientError

        try:
            while True:
                try:
                    data = body.read(_MEBIBYTE)
                except (HTTPClientError, OSError):
                    self._bucket.sleep(0.5)
                    return at
                if not data:
                    return at
                sink.write(data)
                at += len(data)
        finally:
            body.close()

    def _there(self, name: str) -> bool:
        return self._etag(name) is not None

    def _etag(self, name: str) -> str | None:
        try:
            answer = self._try(lambda: self._client.head_object(Bucket=self._bucket.name, Key=name), "cannot be seen")
        except _Gone:
            return None
        return str(answer["ETag"])

    def _content(self, name: str) -> bytes | None:
        try:
            answer = self._try(lambda: self._client.get_object(Bucket=self._bucket.name, Key=name), "cannot be read")
        except _Gone:
            return None
        content: bytes = answer["Body"].read()
        return content

    def _abort(self, name: str, upload: str) -> None:
        try:
            self._try(lambda: self._client.abort_multipart_upload(
                Bucket=self._bucket.name, Key=name, UploadId=upload), "an upload cannot be given up")
        except StoreError:
            return  # `sweep` finds it later

    def _try(self, act: Callable[[], T], what: str) -> T:
        """Do it, again and again while what is in the way may pass. Raises `StoreError`."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as NoConnection

        until = time.monotonic() + self._bucket.patience
        for attempt in range(1, 1 << 30):
            try:
                return act()
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code in _TAKEN:
                    raise AlreadyThere(f"{self.url}: {what}: it is there already") from None
                if code in _GONE:
                    raise _Gone(f"{self.url}: {what}: there is none") from None
                if code not in _TRANSIENT or attempt >= _TRIES or time.monotonic() > until:
                    text = error.response.get("Error", {}).get("Message") or code
                    raise StoreError(f"{self.url}: {what}: {code}: {text}") from None
            except (HTTPClientError, NoConnection) as error:
                if attempt >= _TRIES or time.monotonic() > until:
                    raise StoreError(f"{self.url}: {what}: {error}") from None
            except BotoCoreError as error:
                raise StoreError(f"{self.url}: {what}: {error}", "credentials come from AWS_ACCESS_KEY_ID and "
                                 "AWS_SECRET_ACCESS_KEY, or ~/.aws") from None
            self._bucket.sleep(min(10.0, 0.2 * 2 ** attempt) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        raise AssertionError


class _Gone(StoreError):
    """There is no such object, or upload."""


def _filled(source: Reader, size: int) -> bytes:
    """``size`` bytes of ``source``, fewer only at its end."""
    parts, left = [], size
    while left and (data := source.read(min(left, _MEBIBYTE))):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def _md5(content: bytes) -> str:
    """What S3 checks a body with on arrival (RFC 1864); no security rests on it."""
    import base64

    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _etag(parts: Parts) -> str:
    """The ETag of an object of these parts: the MD5 of their MD5s, and how many there are."""
    joined = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    return f'"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"'
