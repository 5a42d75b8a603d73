"""Sources that find services: a Compose file, environment variables, open ports; and sources tried in turn."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ultraplan.inventory import Inventory, load_inventory, match
from ultraplan.inventory.sources.scan import MAX_TRIES, parsed
from ultraplan.inventory.variables import World
from ultraplan.language.errors import SourceError

Write = Callable[[Mapping[str, str]], Path]

COMPOSE = """\
x-common: &common {restart: always}
services:
  web:
    <<: *common
    image: "shop:${TAG:-latest}"
    ports: ["127.0.0.1:${WEB_PORT}:80", "8443:443", "9000-9001:900-901", "53:53/udp", "3000", "[::1]:8081:81"]
    environment: {TOKEN: "${SECRET?}"}
  db:
    image: postgres
    profiles: [data]
    ports: [{target: 5432, published: "15432", host_ip: 0.0.0.0}]
  worker: {build: .}
"""


def shown(inventory: Inventory, host: str) -> Mapping[str, Any]:
    return dict(World(inventory)[host])


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Ports of this machine at which somebody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield sorted(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()


def test_a_compose_file_gives_its_services_with_the_ports_they_publish(write: Write) -> None:
    folder = write({"docker-compose.yml": COMPOSE, ".env": "WEB_PORT='8080' # as ever\nTAG=1\n"})
    inventory = load_inventory([folder / "docker-compose.yml"], read_env={"TAG": "2.0"})
    assert inventory.members("compose") == ("web", "db", "worker")
    assert inventory.members("data") == ("db",)
    web = shown(inventory, "web")
    assert web | {"service_ports": [(one["address"], one["port"], one["target"], one["protocol"])
                                    for one in web["service_ports"]]} == {
        "ansible_connection": "local", "ansible_host": "127.0.0.1", "service_name": "web", "service_image": "shop:2.0",
        "service_port": 8080, "service_ports": [
            ("127.0.0.1", 8080, 80, "tcp"), ("127.0.0.1", 8443, 443, "tcp"), ("127.0.0.1", 9000, 900, "tcp"),
            ("127.0.0.1", 9001, 901, "tcp"), ("127.0.0.1", 53, 53, "udp"), ("::1", 8081, 81, "tcp")]}
    assert shown(inventory, "db")["service_port"] == 15432
    assert "service_port" not in shown(inventory, "worker")


def test_what_an_earlier_source_says_of_a_service_stays(write: Write) -> None:
    folder = write({"hosts.ini": "web ansible_host=192.0.2.7 service_port=1\n", "compose.yaml": COMPOSE,
                    ".env": "WEB_PORT=2"})
    web = shown(load_inventory([folder / "hosts.ini", folder / "compose.yaml"], read_env={"SECRET": ""}), "web")
    assert (web["ansible_host"], web["service_port"], web["service_image"]) == ("192.0.2.7", 1, "shop:latest")
    assert "ansible_connection" not in web


@pytest.mark.parametrize(("text", "at", "said"), [
    ("services: [web]\n", "1:11", "a mapping 'services'"),
    ("version: '3'\n", "1:1", "a mapping 'services'"),
    ("services:\n  web: up\n", "2:8", "must be a mapping"),
    ("services:\n  'a b': {}\n", "2:3", "is no service's name"),
    ("services:\n  web: {ports: [a:b]}\n", "2:17", "is no port"),
    ("services:\n  web: {ports: ['70000:80']}\n", "2:17", "ports are 1 to 65535"),
    ("services:\n  web: {ports: ['9-8:80']}\n", "2:17", "ports are 1 to 65535"),
    ("services:\n  web: {ports: ['${A?say it}:80']}\n", "2:17", "the environment has no A: say it"),
    ("services:\n  web: {image: 'a${'}\n", "2:16", "'$$'"),
    ("services:\n  web: {ports: &p [*p]}\n", "2:16", "alias"),
    ("services: !!python/object/apply:os.system [x]\n", "1:11", "not known"),
])
def test_mistakes_in_compose_files_have_their_places(write: Write, text: str, at: str, said: str) -> None:
    file = write({"compose.yaml": text}) / "compose.yaml"
    with pytest.raises(SourceError) as caught:
        load_inventory([file], read_env={})
    assert any(str(one.at) == f"{file}:{at}" and said in one.message for one in caught.value.diagnostics), caught.value


def test_environment_variables_name_services() -> None:
    inventory = load_inventory(["env:APP_"], read_env={
        "APP_GATEWAY_URL": "http://gw.internal:8080/api", "APP_CACHE_URL": "redis://:hunter2@10.0.0.5/0",
        "APP_COD_PROTOCOL_HOST": "10.0.0.6", "APP_COD_PROTOCOL_PORT": "9000", "OTHER_URL": "http://x/",
        "APP_X_URL": ""})
    assert inventory.members("env") == ("cache", "cod-protocol", "gateway")
    gateway, cache = shown(inventory, "gateway"), inventory.hosts["cache"].vars
    assert (gateway["ansible_host"], gateway["service_port"], gateway["service_url"]) == (
        "gw.internal", 8080, "http://gw.internal:8080/api")
    assert (cache["ansible_host"], cache["service_port"]) == ("10.0.0.5", 6379)
    assert cache["service_url"] == {"secret": "env:APP_CACHE_URL"}
    assert shown(inventory, "cod-protocol")["service_port"] == 9000
    assert "hunter2" not in repr(inventory)


@pytest.mark.parametrize(("source", "environ", "said"), [
    ("env:A-B", {}, "cannot begin a variable's name"),
    ("env:A_", {"A_B_URL": "nonsense"}, "it is not a URL"),
    ("env:A_", {"A_B_URL": "http://x:99999"}, "it is not a URL"),
    ("env:A_", {"A_B_HOST": "x", "A_B_PORT": "http"}, "is no port"),
])
def test_variables_that_name_no_service_are_told(source: str, environ: dict[str, str], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        load_inventory([source], read_env=environ)


def test_text_from_outside_is_never_a_template_or_a_secret(write: Write) -> None:
    file = write({"compose.yaml": "services: {web: {image: '{{ 1 + 1 }}'}}\n"}) / "compose.yaml"
    assert shown(load_inventory([file]), "web")["service_image"] == "{{ 1 + 1 }}"
    inventory = load_inventory(["env:A_"], read_env={"A_B_HOST": "{{ 7 * 7 }}\ue0f0env:HOME\ue0f1"})
    assert shown(inventory, "b")["ansible_host"] == "{{ 7 * 7 }}\ufffdenv:HOME\ufffd"


def test_a_scan_finds_who_listens(ports: list[int]) -> None:
    free = socket.create_server(("127.0.0.1", 0))
    silent = free.getsockname()[1]
    free.close()
    inventory = load_inventory([f"scan:127.0.0.1:{ports[0]},{ports[1]},{silent}"])
    assert inventory.members("scan") == ("127.0.0.1",)
    assert match(inventory, f"port_{ports[1]}") == ("127.0.0.1",)
    found = shown(inventory, "127.0.0.1")
    assert [one["port"] for one in found["service_ports"]] == ports
    assert found["service_port"] == ports[0]


@pytest.mark.parametrize(("text", "said"), [
    ("8.8.8.8:53", "other people's are not scanned"), ("0.0.0.0/0:80", "not scanned"), ("224.0.0.1:80", "not scanned"),
    ("127.0.0.0/8:1-65535", f"more than {MAX_TRIES} tries"), ("127.0.0.1:0", "no ports"), ("127.0.0.1:9-8", "no ports"),
    ("localhost:80", "not NETWORK:PORTS"), ("127.0.0.1:99999", "no ports"), ("300.1.1.1:80", "IPv4"),
    ("127.0.0.1:80;id", "not NETWORK:PORTS"),
])
def test_a_scan_has_bounds(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        load_inventory([f"scan:{text}"])


def test_a_scan_tries_what_it_says() -> None:
    assert [(str(address), port) for address, port in parsed("10.0.0.0/30:1-2,2,7")] == [
        (f"10.0.0.{host}", port) for host in (1, 2) for port in (1, 2, 7)]
    assert [str(address) for address, _ in parsed("[::1]:80")] == ["::1"]


def test_the_first_source_that_names_a_host_counts(write: Write, ports: list[int]) -> None:
    folder = write({"compose.yaml": "services: {}\n", "registry.ini": "gateway\n"})
    chain = f"{folder}/gone.yaml|{folder}/compose.yaml|env:NOBODY_|scan:127.0.0.1:{ports[0]}"
    assert load_inventory([chain], read_env={}).members("all") == ("127.0.0.1",)
    assert load_inventory([f"{folder}/registry.ini|{chain}"], read_env={}).members("all") == ("gateway",)
    assert load_inventory([chain], read_env={"NOBODY_A_HOST": "x"}).members("all") == ("a",)


def test_a_source_with_a_mistake_is_not_passed_over(write: Write) -> None:
    folder = write({"compose.yaml": "services: 7\n"})
    with pytest.raises(SourceError, match="a mapping 'services'"):
        load_inventory([f"{folder}/compose.yaml|web,"])
    with pytest.raises(SourceError, match="none of these sources names a host"):
        load_inventory([f"{folder}/gone|env:NOBODY_"], read_env={})


def test_the_variables_beside_the_first_file_of_a_chain_hold(write: Write) -> None:
    folder = write({"hosts": "web\n", "group_vars/all.yml": "a: 1\n"})
    assert shown(load_inventory([f"{folder}/gone|{folder}/hosts"]), "web") == {"a": 1}
