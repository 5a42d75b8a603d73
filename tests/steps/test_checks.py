"""`http` and `tcp` against real servers on the loopback."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ultraplan.secrets import OPEN, Secrets, marker
from ultraplan.steps.base import Context, StepFailed, WayBack
from ultraplan.steps.checks import MOST_TEXT, Http, Tcp
from ultraplan.steps.matching import mismatches
from ultraplan.steps.params import SourceFile, build

HTTP, TCP = Http(), Tcp()


class Handler(BaseHTTPRequestHandler):
    well: ClassVar[int] = 0
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        kind = self.path.strip("/").partition("?")[0]
        getattr(self, f"do_{kind}", self.do_missing)()

    do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815

    def say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_health(self) -> None:
        told = {"healthy": True, "version": "2.1", "checks": {"db": {"status": "up", "lag": 0}}, "nodes": [{"id": 1}]}
        self.say(200, json.dumps(told).encode(), **{"X-Release": "2.1"})

    def do_flaky(self) -> None:
        type(self).well -= 1
        self.say(200 if self.well >= 0 else 503, b"{}")

    def do_text(self) -> None:
        self.say(200, b"all is well")

    def do_sick(self) -> None:
        self.say(503, b'{"healthy": false, "why": "no database"}')

    def do_moved(self) -> None:
        self.say(302, b"", Location="/health")

    def do_round(self) -> None:
        self.say(302, b"", Location="/round")

    def do_marked(self) -> None:
        self.say(200, json.dumps({"name": f"{OPEN}env:HOME"}, ensure_ascii=False).encode())

    def do_missing(self) -> None:
        self.say(404, b"no such page")

    def do_big(self) -> None:
        self.say(200, b"[" + b"1," * 6_000_000 + b"1]")

    def do_hang(self) -> None:
        time.sleep(1)
        self.say(200, b"late")

    def do_drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(20):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def do_broken(self) -> None:
        self.wfile.write(b"garbage\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is nothing to tell."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def context(tmp_path: Path, secrets: Secrets | None = None) -> Context:
    return Context(host=None, secrets=secrets or Secrets(), preimage=tmp_path, base=tmp_path,  # type: ignore[arg-type]
                   wait=lambda seconds: None, ask=lambda question, deadline: True, log=lambda line: None)


def ask(tmp_path: Path, secrets: Secrets | None = None, **raw: Any) -> Any:
    params = build(HTTP, raw, lambda kind, name: SourceFile(name, Path(name)))
    state = HTTP.observe(params, context(tmp_path, secrets))
    assert HTTP.decide(params, state) is not None
    return HTTP.act(params, state, context(tmp_path, secrets))


def test_a_right_answer_is_handed_on(tmp_path: Path, url: str) -> None:
    got = ask(tmp_path, url=f"{url}/health", json={"healthy": True, "checks.db.status": "up"})
    assert (got["status"], got["json"]["version"], got["headers"]["x-release"]) == (200, "2.1", "2.1")
    assert json.loads(got["text"]) == got["json"] and 0 <= got["elapsed"] < 10


@pytest.mark.parametrize(("path", "raw", "said"), [
    ("/sick", {}, "answered 503, wanted 200; it says {\"healthy\": false, \"why\": \"no database\"}"),
    ("/sick", {"status": [200, 204]}, "answered 503, wanted 200 or 204"),
    ("/sick", {"status": 503, "json": {"healthy": True}}, "healthy is false, wanted true"),
    ("/health", {"json": {"checks": {"db": {"status": "down"}}}}, 'checks.db.status is "up", wanted "down"'),
    ("/health", {"json": {"nodes.0.id": 2}}, "nodes.0.id is 1, wanted 2"),
    ("/health", {"json": {"version": 2.1}}, 'version is "2.1", wanted 2.1'),
    ("/health", {"json": {"missing": 1}}, "missing is missing, wanted 1"),
    ("/text", {"json": {"healthy": True}}, "the answer is not JSON; it says all is well"),
    ("/text", {"contains": "is ill"}, "does not hold 'is ill'"),
    ("/nowhere", {}, "answered 404, wanted 200; it says no such page"),
    ("/moved", {}, "answered 302 to /health, wanted 200"),
    ("/round", {"follow_redirects": True}, "redirected again and again"),
    ("/big", {"json": {"a": 1}}, "longer than 10 MB"),
    ("/hang", {"timeout": "200ms"}, "no complete answer within 200ms"),
    ("/drip", {"timeout": "300ms"}, "no complete answer within 300ms"),
])
def test_a_wrong_answer_fails_with_what_was_found_and_wanted(
        tmp_path: Path, url: str, path: str, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(StepFailed) as failed:
        ask(tmp_path, url=f"{url}{path}", **raw)
    assert said in str(failed.value) and str(failed.value).startswith(f"GET {url}{path}: ")
    assert len(str(failed.value)) < 600


def test_an_answer_can_have_to_stay_right_for_a_while(tmp_path: Path, url: str) -> None:
    Handler.well = 2
    with pytest.raises(StepFailed, match=r"right at first, but not for 10s: GET .* answered 503"):
        ask(tmp_path, url=f"{url}/flaky", hold="10s", every="0s")
    Handler.well, began = 10_000, time.monotonic()
    ask(tmp_path, url=f"{url}/flaky", hold="200ms", every="0s")
    assert Handler.well <= 9_998 and 0.2 <= time.monotonic() - began < 5


def test_a_redirect_is_followed_only_when_asked_for(tmp_path: Path, url: str) -> None:
    assert ask(tmp_path, url=f"{url}/moved", status=302)["json"] is None
    assert ask(tmp_path, url=f"{url}/moved", follow_redirects=True)["json"]["healthy"] is True


def test_a_large_answer_is_an_output_only_in_part(tmp_path: Path, url: str) -> None:
    assert len(ask(tmp_path, url=f"{url}/big")["text"]) == MOST_TEXT


@pytest.mark.parametrize("address", ["ftp://x/", "http://", "http://[::1", "http://a b/", "//x", "/health"])
def test_what_is_no_address_is_said(tmp_path: Path, address: str) -> None:
    with pytest.raises(StepFailed, match=r"^GET .*: \S+"):
        ask(tmp_path, url=address)


def test_a_port_nobody_listens_on_is_refused(tmp_path: Path, free_port: int) -> None:
    with pytest.raises(StepFailed, match="connection refused: nothing listens there"):
        ask(tmp_path, url=f"http://127.0.0.1:{free_port}/")


def test_a_server_that_does_not_speak_http_is_said(tmp_path: Path, url: str) -> None:
    with pytest.raises(StepFailed, match=r"/broken: \S+"):
        ask(tmp_path, url=f"{url}/broken")


def test_an_unknown_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="name is not known"):
        ask(tmp_path, url="http://nowhere.invalid/")


def test_secrets_are_sent_and_never_told(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", 'hun"ter2')
    secrets = Secrets(["env:TOKEN"])
    with pytest.raises(StepFailed) as failed:
        ask(tmp_path, secrets, url=f"{url}/missing", method="POST", headers={"X-Token": marker("env:TOKEN")},
            json_body={"password": [marker("env:TOKEN")]})
    method, _, headers, body = Handler.seen[-1]
    assert (method, headers["X-Token"], headers["content-type"]) == ("POST", 'hun"ter2', "application/json")
    assert json.loads(body) == {"password": ['hun"ter2']}
    assert "hun" not in str(failed.value)


def test_an_answer_cannot_ask_for_a_secret(tmp_path: Path, url: str) -> None:
    got = ask(tmp_path, url=f"{url}/marked")
    assert OPEN not in json.dumps(got, ensure_ascii=False)


def test_the_controllers_proxy_has_no_part_in_it(
        tmp_path: Path, url: str, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    assert ask(tmp_path, url=f"{url}/text", contains="well")["status"] == 200


def test_a_certificate_has_to_be_trusted(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    server = Server(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"https://localhost:{server.server_port}/text"
    try:
        with pytest.raises(StepFailed, match="certificate is not trusted"):
            ask(tmp_path, url=address)
        assert ask(tmp_path, url=address, ca=str(cert))["text"] == "all is well"
        assert ask(tmp_path, url=address, verify_tls=False)["status"] == 200
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("method", "way_back", "twice"), [
    ("GET", WayBack.READ_ONLY, True), ("HEAD", WayBack.READ_ONLY, True), ("PUT", WayBack.DECLARED, True),
    ("DELETE", WayBack.DECLARED, True), ("POST", WayBack.DECLARED, False), ("PATCH", WayBack.DECLARED, False),
])
def test_what_a_method_may_do_decides_its_way_back(method: str, way_back: WayBack, twice: bool) -> None:
    raw = {"url": "http://x/", "method": method}
    assert HTTP.way_back_of(raw) is way_back
    assert HTTP.idempotent_with(build(HTTP, raw, lambda kind, name: None)) is twice


def test_a_method_that_is_not_known_yet_needs_a_declared_way_back() -> None:
    assert HTTP.way_back_of({"url": "http://x/", "method": "{{ inputs.method }}"}) is WayBack.DECLARED


@pytest.mark.parametrize(("raw", "path"), [
    ({"url": "localhost:80"}, ("url",)),
    ({"url": "http://x", "method": "PUT", "hold": "1s"}, ("hold",)),
    ({"url": "http://x", "body": "a", "json_body": {}}, ("json_body",)),
    ({"url": "https://x", "ca": "a.pem", "verify_tls": False}, ("ca",)),
])
def test_static_mistakes_are_found(raw: dict[str, Any], path: tuple[str, ...]) -> None:
    assert [where for where, _ in HTTP.check(raw)] == [path]


@pytest.mark.parametrize(("wanted", "found", "wrong"), [
    ({}, {}, 0), ({"a": 1}, {"a": 1, "b": 2}, 0), ({"a": True}, {"a": 1}, 1), ({"a": 1}, {"a": True}, 1),
    ({"a": None}, {"a": None}, 0), ({"a": None}, {}, 1), ({"a.b": 1}, {"a.b": 1}, 0), ({"a.b": 1}, {"a": {"b": 1}}, 0),
    ({"a": [1, 2]}, {"a": [1, 2, 3]}, 1), ({"a": [1, {"b": 1}]}, {"a": [1, {"b": 1}]}, 0), ({"0": 1}, [1], 0),
    ({"a.1.b": 2}, {"a": [{}, {"b": 2}]}, 0), ({"a.5": 2}, {"a": []}, 1), ({"a": {"b": 1}}, {"a": 1}, 1),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2, "c": 3}}, 2), ({"a": 1}, "text", 1), ({"a": 1}, None, 1),
])
def test_json_holds_what_is_wanted(wanted: dict[str, Any], found: Any, wrong: int) -> None:
    assert len(mismatches(wanted, found)) == wrong


def knock(tmp_path: Path, **raw: Any) -> Any:
    params = build(TCP, raw, lambda kind, name: None)
    return TCP.act(params, TCP.observe(params, context(tmp_path)), context(tmp_path))


def test_an_open_port_is_open(tmp_path: Path, url: str, free_port: int) -> None:
    port = int(url.rpartition(":")[2])
    assert knock(tmp_path, host="127.0.0.1", port=port)["elapsed"] < 5
    with pytest.raises(StepFailed, match=f"127.0.0.1:{port} is open, wanted closed"):
        knock(tmp_path, host="127.0.0.1", port=port, state="closed")
    knock(tmp_path, host="127.0.0.1", port=free_port, state="closed")
    with pytest.raises(StepFailed, match=r"is closed \(connection refused\), wanted open"):
        knock(tmp_path, host="127.0.0.1", port=free_port)


def test_a_host_that_does_not_exist_is_neither_open_nor_closed(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="name is not known"):
        knock(tmp_path, host="nowhere.invalid", port=1, state="closed")
