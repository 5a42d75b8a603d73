"""An UltraMCP service: gateway, cod-protocol or event-store, as its configuration (the first argument) says.

What differs between releases is in release.py beside it.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse
from urllib.request import urlopen

sys.dont_write_bytecode = True
import release  # noqa: E402 - after the switch above, which keeps caches out of the release's folder

Config = dict[str, Any]


def environment(config: Config) -> dict[str, str]:
    """The variables of the service's env file."""
    lines = Path(config["env_file"]).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def registry(config: Config) -> dict[str, Any]:
    """The services that are registered, by name."""
    services: dict[str, Any] = json.loads(Path(config["registry"]).read_text(encoding="utf-8"))["services"]
    return services


def events(config: Config) -> list[dict[str, Any]]:
    """What the event store holds."""
    lines = (Path(config["data"]) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ask(config: Config, name: str, path: str) -> Any:
    """What another service answers; raises OSError or KeyError."""
    with urlopen(f"{registry(config)[name]['url']}/{path}", timeout=2) as reply:
        return json.load(reply)


def reachable(config: Config, name: str) -> bool:
    """Whether another service answers at all."""
    try:
        return bool(ask(config, name, "version"))
    except (OSError, KeyError):
        return False


def health(config: Config) -> dict[str, bool]:
    """Each check, and whether it passed."""
    checks = {"environment": bool(environment(config).get("ULTRAMCP_KEY")),
              "registry": config["service"] in registry(config)}
    if config["service"] == "event-store":
        checks["data"] = all(event.get("format", 1) == release.EVENT_FORMAT for event in events(config))
    if config["service"] == "gateway":
        checks |= {name: reachable(config, name) for name in release.PEERS}
    return checks


def answer(config: Config, path: str) -> Any:
    """What a path gives, or None."""
    url = urlparse(path)
    match config["service"], url.path.strip("/").split("/"):
        case _, ["version"]:
            return {"service": config["service"], "version": release.VERSION, "event_format": release.EVENT_FORMAT}
        case "event-store", ["events"]:
            return {"count": len(events(config))}
        case "cod-protocol", ["answer"]:
            return {"answer": release.draft(parse_qs(url.query).get("q", [""])[0])}
        case "gateway", ["call", name, *rest]:
            return ask(config, name, f"{'/'.join(rest)}?{url.query}")
    return None


class Handler(BaseHTTPRequestHandler):
    """Answers GET with JSON."""

    def __init__(self, config: Config, *args: Any) -> None:
        self.config = config
        super().__init__(*args)

    def do_GET(self) -> None:
        try:
            if self.path == "/health":
                checks = health(self.config)
                healthy = all(checks.values())
                self.say(200 if healthy else 503, {"healthy": healthy, "version": release.VERSION, "checks": checks})
            elif (found := answer(self.config, self.path)) is not None:
                self.say(200, found)
            else:
                self.say(404, {"error": f"nothing at {self.path}"})
        except Exception as error:  # noqa: BLE001 - a service answers whatever happens
            self.say(500, {"healthy": False, "error": repr(error)})

    def say(self, status: int, told: Any) -> None:
        """Send a status and a value as JSON."""
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until ended."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    server = ThreadingHTTPServer((config["address"], config["port"]), partial(Handler, config))
    print(f"{config['service']} {release.VERSION} on {config['address']}:{config['port']}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
