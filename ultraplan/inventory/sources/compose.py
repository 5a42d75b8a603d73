"""A Compose file's services as hosts, with the ports that they publish on this machine.
https://github.com/compose-spec/compose-spec/blob/main/05-services.md"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ultraplan.inventory import yamltext
from ultraplan.inventory.paths import exists
from ultraplan.inventory.sources.base import Opened, Reading
from ultraplan.inventory.sources.services import add_service
from ultraplan.inventory.varfiles import kind

NAME = re.compile(r"(?:docker-)?compose(?:[.-][\w.-]+)?\.ya?ml")
"""The names of Compose files: ``compose.yaml``, ``docker-compose.yml``, ``compose.override.yaml`` …"""

_PORT = re.compile(r"(?:(?P<address>\[[^\]]*\]|[^:\[\]]*):)??(?:(?P<first>\d*)(?:-(?P<last>\d+))?:)?"
                   r"(?P<target>\d+)(?:-(?P<end>\d+))?(?:/(?P<protocol>\w+))?")
_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
_VARIABLE = re.compile(rf"\$(?:(?P<dollar>\$)|(?P<bare>{_NAME})|\{{(?P<name>{_NAME})(?P<rest>[^{{}}]*)\}}|(?P<bad>))")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST_PORTS = 1000


class Compose:
    """A file with the name of a Compose file. Nothing is asked of Docker: what counts is what the file says."""

    def claims(self, source: Opened) -> bool:
        """Whether it is named as one and there."""
        return NAME.fullmatch(source.path.name) is not None and exists(source.path) and source.path.is_file()

    def read(self, source: Opened, into: Reading) -> None:
        """Add its services to the group ``compose``, and to a group for each of their profiles."""
        _File(source, into).read()


class _File:
    def __init__(self, source: Opened, into: Reading) -> None:
        self.data, self.source = yamltext.load(source.text, source.name)
        self.into = into
        self.environ = {**_env_file(source), **into.environ}

    def read(self) -> None:
        services = self.data.get("services") if isinstance(self.data, Mapping) else None
        if not isinstance(services, Mapping):
            self.wrong("wrong-type", "a Compose file has a mapping 'services'", ("services",) if services else ())
            return
        for name, body in services.items():
            path = ("services", name)
            if not isinstance(name, str) or not _SERVICE.fullmatch(name):
                self.wrong("bad-host", f"{name!r} is no service's name: letters, digits, '.', '_' and '-'", path,
                           key=True)
            elif not isinstance(body, Mapping):
                self.wrong("wrong-type", f"the service '{name}' must be a mapping; this is {kind(body)}", path)
            else:
                self.service(name, body, path)

    def service(self, name: str, body: Mapping[str, Any], path: tuple[Any, ...]) -> None:
        ports = list(self.ports(body.get("ports") or [], (*path, "ports")))
        first = next((port for port in ports if port["protocol"] == "tcp"), None)
        profiles = body.get("profiles") or []
        groups = [one for one in profiles if isinstance(one, str) and _SERVICE.fullmatch(one)] \
            if isinstance(profiles, list) else []
        image = body.get("image")
        add_service(self.into.builder, name, ["compose", *groups], {
            "service_name": name, "service_ports": ports,
            "service_image": self.filled(image, (*path, "image")) if isinstance(image, str) else None,
            "service_port": first and first["port"], "ansible_host": first["address"] if first else "127.0.0.1"})

    def ports(self, written: Any, path: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
        """Each published port: address and port on this machine, the container's port, the protocol."""
        if not isinstance(written, list):
            self.wrong("wrong-type", f"'ports' is a list; this is {kind(written)}", path)
            return
        for index, one in enumerate(written):
            here = (*path, index)
            if isinstance(one, Mapping):
                address = str(one.get("host_ip") or "")
                host, target = f"{address}:" if address else "", one.get("target")
                one = f"{host}{one.get('published') or ''}:{target}/{one.get('protocol') or 'tcp'}"
            text = self.filled(str(one), here)
            found = _PORT.fullmatch(text)
            if found is None:
                self.wrong("bad-port", f"{text!r} is no port; write 8080:80, 127.0.0.1:8080:80 or 8000-8009:80-89",
                           here)
                continue
            yield from self.published(found, text, here)

    def published(self, found: re.Match[str], text: str, here: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
        if not found["first"]:
            return  # Docker chooses a port, so nobody can know it
        first, target = int(found["first"]), int(found["target"])
        count = int(found["last"] or first) - first + 1
        if not (0 < count <= _MOST_PORTS and 0 < first <= first + count - 1 < 65536 and 0 < target < 65536):
            self.wrong("bad-port", f"{text!r}: ports are 1 to 65535, {_MOST_PORTS} of them at most", here)
            return
        address = (found["address"] or "").strip("[]")
        for offset in range(count):
            yield {"address": {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address),  # noqa: S104
                   "port": first + offset, "target": target + (offset if found["end"] else 0),
                   "protocol": found["protocol"] or "tcp"}

    def filled(self, text: str, path: tuple[Any, ...]) -> str:
        """``text`` with ``$NAME``, ``${NAME:-default}`` and their like filled in from the environment and ``.env``."""
        def value(found: re.Match[str]) -> str:
            if found["dollar"]:
                return "$"
            name = found["bare"] or found["name"]
            rest = found["rest"] or ""
            given = self.environ.get(name) if name else None
            match = re.fullmatch(r"(:?)([-?+])(.*)", rest, re.DOTALL)
            if name is None or (rest and match is None):
                self.wrong("bad-variable", f"a '$' that is none is written '$$': {text!r}", path)
                return ""
            present = bool(given) if match and match[1] else given is not None
            if match is None or (present and match[2] != "+"):
                return given or ""
            if match[2] == "?":
                why = f": {match[3]}" if match[3] else ""
                self.wrong("bad-variable", f"the environment has no {name}{why}", path)
            return match[3] if (match[2] == "-" and not present) or (match[2] == "+" and present) else ""

        return _VARIABLE.sub(value, text)

    def wrong(self, code: str, message: str, path: tuple[Any, ...], *, key: bool = False) -> None:
        at = self.source.at(path, key=key)
        self.into.problems.add(code, message, at, self.source.line(at.line), None)


def _env_file(source: Opened) -> dict[str, str]:
    """What the ``.env`` beside a Compose file sets; comments and quotes as Compose has them in simple lines."""
    try:
        text = source.path.with_name(".env").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(rf"\s*(?:export\s+)?({_NAME})\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|(.*?))\s*(?:\s#.*)?", line)
        if match:
            found[match[1]] = next(filter(None, match.groups()[1:]), "")
    return found


