"""Steps that look at something over the network, from the controller: `http` and `tcp`.

They try once; waiting for something to come up is what a step's `retries`, `delay` and `until` are for.
"""

from __future__ import annotations

import json as jsonlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ultraplan.language.values import Duration
from ultraplan.secrets import Secrets, neutral
from ultraplan.steps.base import Change, Context, ControllerStep, State, StepFailed, WayBack
from ultraplan.steps.matching import cut, mismatches
from ultraplan.steps.params import SourceFile

if TYPE_CHECKING:
    import ssl

    import httpx

MOST_BODY = 10_000_000
"""Bytes of an answer that are read at most."""

MOST_TEXT = 16 * 1024
"""Characters of an answer's text that become an output."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_REPEATABLE = (*_SAFE_METHODS, "PUT", "DELETE")

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
Status = Annotated[int, Meta(ge=100, le=599)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpParams:
    """Parameters of `http`."""

    url: Annotated[str, Meta(min_length=1, description="Where to; http:// or https://")]
    method: Annotated[
        Method, Meta(description="The method; all but GET, HEAD and OPTIONS have to say how they are undone")
    ] = "GET"
    headers: Annotated[dict[str, str], Meta(description="Headers to send")] = field(default_factory=dict)
    body: Annotated[str | None, Meta(description="Text to send")] = None
    json_body: Annotated[Any, Meta(description="A value to send as JSON")] = None
    status: Annotated[
        Status | Annotated[list[Status], Meta(min_length=1)],
        Meta(description="The status, or list of statuses, that is right"),
    ] = 200
    json: Annotated[
        dict[str, Any] | None,
        Meta(description="What the answer's JSON has to hold, among other things: nested, or with dotted "
                         "keys (`checks.db.status: up`)"),
    ] = None
    contains: Annotated[str | None, Meta(description="What the answer's text has to hold")] = None
    timeout: Annotated[Duration, Meta(description="How long it may take in all")] = field(
        default_factory=lambda: Duration(10))
    hold: Annotated[
        Duration, Meta(description="How long the answer has to stay right: it is asked again and again until then")
    ] = field(default_factory=lambda: Duration(0))
    every: Annotated[Duration, Meta(description="With `hold`: the pause between two requests")] = field(
        default_factory=lambda: Duration(1))
    follow_redirects: Annotated[bool, Meta(description="Whether to go where a redirect points")] = False
    verify_tls: Annotated[bool, Meta(description="Whether the server's certificate has to be right")] = True
    ca: Annotated[SourceFile | None, Meta(description="A PEM file with the authorities to trust")] = None

    @property
    def statuses(self) -> list[int]:
        """Every status that is right."""
        return self.status if isinstance(self.status, list) else [self.status]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    elapsed: float

    @property
    def text(self) -> str:
        return neutral(self.body.decode("utf-8", "replace"))

    def parsed(self) -> Any:
        """Its JSON; raises ValueError."""
        return jsonlib.loads(self.text)


class Http(ControllerStep[HttpParams]):
    """Sends one request and compares the answer with what is wanted."""

    name = "http"
    summary = "Send an HTTP request and check the answer"
    Params = HttpParams
    shorthand = "url"
    way_back = WayBack.DECLARED
    opaque = True
    example = """\
- id: healthy
  http:
    url: "{{ inputs.url }}"
    status: 200
    json: {healthy: true}
  retries: 3
  delay: 1s
"""
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "status": "the answer's status",
        "json": "the answer's JSON; null where it is none",
        "text": f"the answer's text, at most {MOST_TEXT // 1024} KiB of it",
        "headers": "the answer's headers, names in lower case",
        "elapsed": "seconds until the answer was there",
    }

    def way_back_of(self, raw: Mapping[str, Any]) -> WayBack:
        return WayBack.READ_ONLY if raw.get("method", "GET") in _SAFE_METHODS else WayBack.DECLARED

    def idempotent_with(self, params: HttpParams) -> bool:
        return params.method in _REPEATABLE

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        url = raw.get("url")
        if isinstance(url, str) and "{" not in url and not url.lower().startswith(("http://", "https://")):
            found.append((("url",), "an address begins with http:// or https://"))
        if "hold" in raw and raw.get("method", "GET") not in _SAFE_METHODS:
            found.append((("hold",), "only GET, HEAD and OPTIONS may be sent again and again"))
        if "body" in raw and "json_body" in raw:
            found.append((("json_body",), "`body` and `json_body` cannot both be sent"))
        if "ca" in raw and raw.get("verify_tls") is False:
            found.append((("ca",), "`ca` says whom to trust, but `verify_tls: false` trusts anybody"))
        return found

    def decide(self, params: HttpParams, state: State) -> Change | None:
        wants = [f"status {' or '.join(map(str, params.statuses))}"]
        wants += [] if params.json is None else ["JSON"]
        wants += [] if params.contains is None else ["text"]
        verb = "checks" if params.method in _SAFE_METHODS else f"{params.method}s"
        held = f", for {params.hold}" if params.hold else ""
        return Change(summary=f"{verb} {params.url}: {', '.join(wants)}{held}")

    def act(self, params: HttpParams, state: State, context: Context) -> Mapping[str, Any]:
        began = time.monotonic()
        answer = self._ask(params, context)
        while params.hold and params.method in _SAFE_METHODS and time.monotonic() - began < params.hold:
            context.wait(params.every)
            try:
                answer = self._ask(params, context)
            except StepFailed as error:
                raise StepFailed(f"right at first, but not for {params.hold}: {error}") from None
        try:
            parsed = answer.parsed()
        except ValueError:
            parsed = None
        return {"status": answer.status, "json": parsed, "text": answer.text[:MOST_TEXT],
                "headers": answer.headers, "elapsed": round(answer.elapsed, 3)}

    def _ask(self, params: HttpParams, context: Context) -> _Answer:
        """One right answer; raises `StepFailed` for any other."""
        answer = _send(params, context.secrets)
        if wrong := _wrong(params, answer):
            raise StepFailed(f"{params.method} {params.url}: {'; '.join(wrong)}")
        return answer


def _send(params: HttpParams, secrets: Secrets) -> _Answer:
    """The answer; raises `StepFailed` where none came."""
    import httpx

    def fail(what: str) -> StepFailed:
        return StepFailed(f"{params.method} {params.url}: {what}")

    began = time.monotonic()
    late = f"no complete answer within {params.timeout}"
    try:
        with (
            # Nothing of the controller's own (proxies, .netrc) may change what is looked at or given away.
            httpx.Client(trust_env=False, verify=_trust(params), timeout=float(params.timeout),
                         follow_redirects=params.follow_redirects) as client,
            client.stream(params.method, secrets.reveal(params.url), content=_content(params, secrets),
                          headers=_headers(params, secrets)) as answer,
        ):
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if time.monotonic() - began > params.timeout:
                    raise fail(late)
                if len(body) > MOST_BODY:
                    break
            return _Answer(
                answer.status_code, {name.lower(): neutral(value) for name, value in answer.headers.items()},
                bytes(body[:MOST_BODY]), len(body) <= MOST_BODY, time.monotonic() - began)
    except httpx.TimeoutException:
        raise fail(late) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise fail(f"not an address that can be asked: {error}") from None
    except httpx.TooManyRedirects:
        raise fail("redirected again and again") from None
    except httpx.HTTPError as error:
        raise fail(_unreached(error)) from None
    except (OSError, ValueError) as error:
        raise fail(str(error)) from None


def _unreached(error: httpx.HTTPError) -> str:
    """Why no answer came, in words."""
    said = str(error)
    if "refused" in said:
        return "connection refused: nothing listens there"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return f"the server's certificate is not trusted: {said.rpartition('CERTIFICATE_VERIFY_FAILED] ')[2]}"
    if "Name or service not known" in said or "name resolution" in said:
        return "the host's name is not known"
    return said or type(error).__name__


def _trust(params: HttpParams) -> ssl.SSLContext | bool:
    if not params.verify_tls or params.ca is None:
        return params.verify_tls
    import ssl

    return ssl.create_default_context(cafile=str(params.ca.path))


def _content(params: HttpParams, secrets: Secrets) -> bytes | None:
    if params.json_body is not None:
        return jsonlib.dumps(_revealed(params.json_body, secrets), ensure_ascii=False).encode()
    return None if params.body is None else secrets.reveal(params.body).encode()


def _headers(params: HttpParams, secrets: Secrets) -> dict[bytes, bytes]:
    """The headers in UTF-8; raises `StepFailed`, which names a header that cannot be sent but not its value."""
    headers = {name: secrets.reveal(value) for name, value in params.headers.items()}
    if params.json_body is not None and "content-type" not in {name.lower() for name in headers}:
        headers["content-type"] = "application/json"
    for name, value in headers.items():
        if value != value.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise StepFailed(f"the header {name} holds a line break, or white space at an end, and cannot be sent")
    return {name.encode(): value.encode("utf-8", "surrogateescape") for name, value in headers.items()}


def _revealed(value: Any, secrets: Secrets) -> Any:
    """``value`` with the secrets in its strings; JSON encodes them afterwards, so they cannot break out."""
    if isinstance(value, str):
        return secrets.reveal(value)
    if isinstance(value, Mapping):
        return {secrets.reveal(str(key)): _revealed(item, secrets) for key, item in value.items()}
    return [_revealed(item, secrets) for item in value] if isinstance(value, list | tuple) else value


def _wrong(params: HttpParams, answer: _Answer) -> list[str]:
    """Everything that is not as wanted, as found against wanted."""
    wrong: list[str] = []
    if answer.status not in params.statuses:
        where = f" to {answer.headers['location']}" if "location" in answer.headers else ""
        wrong.append(f"answered {answer.status}{where}, wanted {' or '.join(map(str, params.statuses))}")
    if params.json is not None:
        try:
            wrong += mismatches(params.json, answer.parsed())
        except ValueError:
            wrong.append("the answer is not JSON" if answer.complete else
                         f"the answer is longer than {MOST_BODY // 1_000_000} MB")
    if params.contains is not None and params.contains not in answer.text:
        wrong.append(f"the answer does not hold {params.contains!r}")
    if wrong and answer.body:
        wrong.append(f"it says {cut(answer.text)}")
    return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpParams:
    """Parameters of `tcp`."""

    host: Annotated[str, Meta(min_length=1, description="Name or address, for example {{ host.address }}")]
    port: Annotated[int, Meta(ge=1, le=65535, description="The port")]
    state: Annotated[
        Literal["open", "closed"], Meta(description="`closed`: refused, or no answer within the timeout")
    ] = "open"
    timeout: Annotated[Duration, Meta(description="How long it may take")] = field(
        default_factory=lambda: Duration(5))


class Tcp(ControllerStep[TcpParams]):
    """Checks that a port takes connections, or that it does not."""

    name = "tcp"
    summary = "Check that a TCP port is open, or closed"
    Params = TcpParams
    way_back = WayBack.READ_ONLY
    opaque = True
    example = """\
- id: nobody-there
  tcp: {host: 127.0.0.1, port: 1, state: closed}
"""
    outputs_doc: ClassVar[Mapping[str, str]] = {"elapsed": "seconds until it was known"}

    def decide(self, params: TcpParams, state: State) -> Change | None:
        return Change(summary=f"checks that {params.host}:{params.port} is {params.state}")

    def act(self, params: TcpParams, state: State, context: Context) -> Mapping[str, Any]:
        where, began = f"{params.host}:{params.port}", time.monotonic()
        why = ""
        address = (context.secrets.reveal(params.host), params.port)
        try:
            socket.create_connection(address, float(params.timeout)).close()
        except (socket.gaierror, UnicodeError):
            raise StepFailed(f"{where}: the host's name is not known") from None
        except ConnectionRefusedError:
            why = "connection refused"
        except TimeoutError:
            why = f"no answer within {params.timeout}"
        except OSError as error:
            why = error.strerror or str(error)
        if (params.state == "open") == bool(why):
            raise StepFailed(f"{where} is {f'closed ({why})' if why else 'open'}, wanted {params.state}")
        return {"elapsed": round(time.monotonic() - began, 3)}


STEPS = (Http, Tcp)
