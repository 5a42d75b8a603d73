"""Services that environment variables name: ``env:PREFIX`` reads ``PREFIXNAME_URL`` and ``PREFIXNAME_HOST``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ultraplan.inventory.sources.base import Opened, Reading
from ultraplan.inventory.sources.services import add_service
from ultraplan.language.errors import Position

SCHEME = "env:"
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "redis": 6379, "rediss": 6379, "postgres": 5432,
         "postgresql": 5432, "mysql": 3306, "mariadb": 3306, "amqp": 5672, "amqps": 5671, "mongodb": 27017, "tcp": None}
"""The port of a URL that names none, by its scheme."""

_PREFIX = re.compile(r"[A-Za-z0-9_]*")


class Environment:
    """The text ``env:PREFIX``: variables ``PREFIXNAME_URL=http://host:port/…``, or ``PREFIXNAME_HOST`` with, if it is
    there, ``PREFIXNAME_PORT``. The host is called after NAME, in lower case with dashes."""

    def claims(self, source: Opened) -> bool:
        """Whether it begins with ``env:``."""
        return source.name.startswith(SCHEME)

    def read(self, source: Opened, into: Reading) -> None:
        """Add the services to the group ``env``."""
        prefix = source.name.removeprefix(SCHEME)
        if not _PREFIX.fullmatch(prefix):
            into.problems.add("bad-variable", f"{prefix!r} cannot begin a variable's name", Position(source.name, 1, 1))
            return
        for variable in sorted(into.environ):
            found = re.fullmatch(rf"{prefix}(\w+)_(URL|HOST)", variable)
            if found is None or not into.environ[variable]:
                continue
            try:
                values = _of_url(variable, into.environ[variable]) if found[2] == "URL" else \
                    _of_host(prefix + found[1], into.environ)
            except ValueError as error:
                into.problems.add("bad-variable", f"the environment's {variable}: {error}", Position(source.name, 1, 1))
                continue
            name = found[1].lower().replace("_", "-").strip("-") or found[1].lower()
            add_service(into.builder, name, ["env"], {"service_name": name, **values})


def _of_url(variable: str, text: str) -> dict[str, Any]:
    """The variables of a service at a URL. One with a password stays a reference to where it stands."""
    try:
        url: SplitResult = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("it is not a URL; write scheme://host:port/path") from None
    if not url.scheme or not url.hostname:
        raise ValueError("it is not a URL; write scheme://host:port/path")
    return {"ansible_host": url.hostname, "service_port": port if port is not None else PORTS.get(url.scheme),
            "service_url": {"secret": f"env:{variable}"} if "@" in url.netloc or url.query else text}


def _of_host(stem: str, environ: Mapping[str, str]) -> dict[str, Any]:
    port = environ.get(f"{stem}_PORT")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{stem}_PORT={port!r} is no port")
    return {"ansible_host": environ[f"{stem}_HOST"], "service_port": int(port) if port else None}
