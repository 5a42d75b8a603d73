"""Connection variables of an existing inventory work as they are, templates included."""

from __future__ import annotations

from typing import Any

import pytest

from ultraplan.engine.targets import target_of
from ultraplan.inventory.model import Host, Inventory
from ultraplan.inventory.variables import World
from ultraplan.secrets import marker
from ultraplan.transport.base import TransportError
from ultraplan.transport.target import Target


@pytest.mark.parametrize(("variables", "expected"), [
    ({"ansible_host": "{{ ip }}", "ip": "192.0.2.7"}, Target("web", address="192.0.2.7")),
    ({"ansible_host": "{{ vars.ip }}", "ip": "{{ net }}.7", "net": "192.0.2"}, Target("web", address="192.0.2.7")),
    ({"ansible_host": "{{ inventory_hostname }}.example.org"}, Target("web", address="web.example.org")),
    ({"ansible_become_password": "{{ pw }}", "pw": {"secret": "env:PW"}},
     Target("web", address="web", become_password=marker("env:PW"))),
    ({"unrelated": "{{ nowhere }}"}, Target("web", address="web")),
])
def test_templates_are_filled_in(variables: dict[str, Any], expected: Target) -> None:
    assert target_of(World(Inventory({"web": Host("web", vars=variables)}))["web"]) == expected


@pytest.mark.parametrize(("variables", "said"), [
    ({"ansible_host": "{{ adress }}", "address": "x"}, "ansible_host: 'adress' is not defined"),
    ({"ansible_host": "{{ a }}", "a": "{{ b }}", "b": "{{ a }}"}, "these variables need each other"),
])
def test_what_cannot_be_filled_in_is_told(variables: dict[str, Any], said: str) -> None:
    with pytest.raises(TransportError, match=said):
        target_of(World(Inventory({"web": Host("web", vars=variables)}))["web"])
