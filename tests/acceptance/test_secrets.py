"""A secret is nowhere but where the plan puts it."""

from __future__ import annotations

import base64
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.world import STATE, World, differences, finish
from tests.lab import Lab

pytestmark = pytest.mark.lab

SECRET = "pa'ss $(touch /PWNED) \"wörd\" xyzzy-hunter"
SPELLINGS = (SECRET.encode(), b"xyzzy-hunter", base64.b64encode(SECRET.encode()))
"""The value, a part of it that no quoting changes, and an encoding."""

STEPS = """
- id: file
  file: {path: /srv/secret, content: "key = {{ vars.key }}\\n"}
- id: line
  lineinfile: {path: /srv/lines, line: "key = {{ vars.key }}", create: true}
- id: template
  file: {path: /srv/templated, template: secret.j2}
- id: command
  command:
    run: 'printf %s "$KEY" >/srv/from-environment; printf "%s\\n" "told: $KEY"; printf "%s\\n" "$KEY" >&2; sleep 1.5'
  environment: {KEY: {secret: "env:KEY"}}
  undo: {command: 'test "$KEY" = "$(cat /srv/from-environment)" && rm /srv/from-environment'}
- id: stdin
  command: {run: cat >/srv/from-stdin, stdin: {secret: "env:KEY"}}
  undo: {command: {run: 'test "$(cat)" = "$(cat /srv/from-stdin)" && rm /srv/from-stdin', stdin: {secret: "env:KEY"}}}
- id: used
  file: {path: /srv/used, content: "{{ steps.command.outputs.stdout }}"}
- id: header
  http: {url: "http://{{ vars.server }}/", headers: {X-Key: "{{ vars.key }}"}, status: 200}
- id: fails
  command: {run: 'echo "the key is $KEY" >&2; test ! -e /srv/broken'}
  environment: {KEY: {secret: "env:KEY"}}
  irreversible: it changes nothing
"""


class _Server(http.server.BaseHTTPRequestHandler):
    keys: list[str]

    def do_GET(self) -> None:
        self.keys.append(self.headers["X-Key"].encode("latin-1").decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server on this machine, and the keys that were sent to it."""
    keys: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Server,), {"keys": keys})) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{httpd.server_address[1]}", keys
        httpd.shutdown()


@pytest.mark.parametrize("kind", ["debian", "busybox"])
def test_a_secret_is_nowhere_but_where_the_plan_puts_it(
        world: Callable[..., World], server: tuple[str, list[str]], kind: str) -> None:
    here = world(1, kind)
    host, = here.hosts
    here.env["KEY"] = SECRET
    here.sh("mkdir -p /srv /var/lib")
    here.write("secret.j2", "<{{ vars.key }}>")
    here.plan(STEPS.replace("irreversible: it changes nothing", "undo: {command: 'true'}"),
              vars={"server": server[0]})
    here.inventory({"one": {}}, key={"secret": "env:KEY"})
    said = []

    preview = here.on("plan", "plan.yaml", "-o", "FILE.plan").expect(0)
    assert "«secret env:KEY»" in preview.out
    process = here.start("apply", "FILE.plan")
    with _process_lists(here.lab, host) as seen:
        applied = finish(process).expect(0)
    texts = {path: here.lab.path(host, path).read_text() for path in
             ("/srv/secret", "/srv/lines", "/srv/templated", "/srv/from-environment", "/srv/from-stdin", "/srv/used")}
    assert list(texts.values()) == [f"key = {SECRET}\n", f"key = {SECRET}\n", f"<{SECRET}>", SECRET, SECRET,
                                    f"told: {SECRET}"]
    assert server[1] == [SECRET]
    elsewhere = _where_on_host(here, host, besides=set(texts))
    said += [preview, applied, here.apply("plan.yaml", "--json"), here.on("plan", "plan.yaml", "--json")]

    here.sh("touch /srv/broken; printf 'old\\n' >/srv/secret")
    failing = here.apply("plan.yaml").expect(1)
    here.sh("rm /srv/broken")
    said += [failing, here.run("rollback", next(iter(here.journal())), "--yes")]

    assert "«secret env:KEY»" in failing.out
    for one in said:
        assert not _has(one.out.encode() + one.err.encode()), one.said
    assert [str(p) for p in sorted(here.folder.rglob("*")) if p.is_file() and _has(p.read_bytes())] == []
    assert [command for command in seen if _has(command)] == []
    assert any(b"sleep" in command for command in seen), "the list of processes was read while the command ran"
    assert elsewhere == []
    assert not here.lab.path(host, "/PWNED").exists() and not Path("/PWNED").exists()


def test_undoing_needs_the_secret_and_says_so_where_it_is_gone(world: Callable[..., World]) -> None:
    here = world(1)
    here.env["KEY"] = SECRET
    here.plan("""
- id: file
  file: {path: /srv/file, content: {secret: "env:KEY"}}
- id: command
  command: 'printf %s "$KEY" >/srv/from-environment'
  environment: {KEY: {secret: "env:KEY"}}
  undo: {command: 'test "$KEY" = "$(cat /srv/from-environment)" && rm /srv/from-environment'}
""")
    before = here.trees()
    here.apply("plan.yaml").expect(0)
    del here.env["KEY"]

    incomplete = here.run("rollback", "--yes").expect(4)
    assert "secret env:KEY: the environment has no variable KEY" in incomplete.out
    here.env["KEY"] = SECRET
    here.run("resume").expect(1)

    assert differences(before, here.trees()) == []


def _has(data: bytes) -> bool:
    return any(spelling in data for spelling in SPELLINGS)


def _where_on_host(here: World, host: str, besides: set[str]) -> list[str]:
    """Files with the secret among those that differ from the host's image, and in the state folder."""
    found = []
    for path, entry in here.lab.tree(host).items():
        if entry["type"] == "file" and path not in besides and _has(here.lab.path(host, path).read_bytes()):
            found.append(path)
    assert any(path.startswith(STATE) for path in here.lab.tree(host))
    return found


class _process_lists:  # noqa: N801 - a context manager
    """Collects the command lines of every process of the host while it is open."""

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab, self._host, self._seen = lab, host, set[bytes]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> set[bytes]:
        self._thread.start()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            for path in self._lab.path(self._host, "/proc").glob("[0-9]*/cmdline"):
                try:
                    self._seen.add(path.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)
