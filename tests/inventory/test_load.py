"""What loading gives beyond what Ansible is asked about in test_agreement.py."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ultraplan.inventory import as_graph, as_list, load_inventory, references_in
from ultraplan.inventory.names import expand, split_port
from ultraplan.language.errors import SourceError

Write = Callable[[Mapping[str, str]], Path]


def test_without_sources_there_is_only_this_machine() -> None:
    inventory = load_inventory([])
    host = inventory.hosts["localhost"]
    assert host.implicit and host.vars == {"ansible_connection": "local"} and host.groups == ("all",)
    assert inventory.members("all") == () and list(inventory.hosts) == ["localhost"]


def test_this_machine_has_the_variables_of_all_and_its_own_files(write: Write) -> None:
    folder = write({"hosts": "w1\n[all:vars]\na=1\n", "group_vars/all.yml": "b: 2\n",
                    "host_vars/localhost.yml": "c: 3\n"})
    variables = load_inventory([folder / "hosts"]).hosts["localhost"].vars
    assert variables == {"a": 1, "b": 2, "c": 3, "ansible_connection": "local"}


def test_nothing_magic_is_among_the_variables(write: Write) -> None:
    inventory = load_inventory([write({"hosts": "w1\n"}) / "hosts"])
    assert inventory.hosts["w1"].vars == {}
    assert inventory.groups["all"].vars == {}


def test_groups_of_a_host_are_all_first_then_from_the_outermost_in(write: Write) -> None:
    folder = write({"hosts": "[z]\nw\n[a]\nw\n[top:children]\nz\n"})
    assert load_inventory([folder / "hosts"]).hosts["w"].groups == ("all", "a", "top", "z")


def test_the_sources_that_were_read_are_listed(write: Write) -> None:
    folder = write({"d/b": "w1\n", "d/a": "w2\n", "d/.x": "w3\n"})
    assert load_inventory([folder / "d", "x,"]).sources == (f"{folder}/d/a", f"{folder}/d/b", "x,")


def test_a_pipe_can_be_a_source() -> None:
    script = "from ultraplan.inventory import load_inventory as l; print(l(['/dev/stdin']).members('web'))"
    done = subprocess.run([sys.executable, "-c", script], input="[web]\nw[1:2]\n", capture_output=True, text=True,
                          check=True)
    assert done.stdout == "('w1', 'w2')\n"


def test_a_file_with_the_executable_bit_that_is_no_program_is_read_as_text(write: Write) -> None:
    folder = write({"hosts": "[web]\nw1\n"})
    (folder / "hosts").chmod(0o755)
    assert load_inventory([folder / "hosts"]).members("web") == ("w1",)


def test_a_program_that_is_not_executable_is_not_run(write: Write) -> None:
    folder = write({"inv": "#!/bin/sh\ntouch ran\n"})
    (folder / "inv").chmod(0o644)
    (folder / "inv").write_text(f"#!/bin/sh\ntouch '{folder}/ran'\n")
    with pytest.raises(SourceError):
        load_inventory([folder / "inv"])
    assert not (folder / "ran").exists()


def test_scripts_get_the_given_environment_and_no_other(write: Write) -> None:
    folder = write({"inv": '#!/bin/sh\necho "{\\"web\\": [\\"$WHO-$HOME\\"], \\"_meta\\": {\\"hostvars\\": {}}}"\n'})
    assert load_inventory([folder / "inv"], read_env={"WHO": "me"}).members("web") == ("me-",)


def test_hosts_of_a_script_are_asked_for_as_one_argument_each(write: Write) -> None:
    name = "$(touch ran); rm -rf 'x' --list"
    folder = write({"inv": "#!/bin/sh\nif [ \"$1\" = --list ]; then cat <<'E'\n{\"g\": [\"" + name + "\"]}\nE\n"
                           "else printf '{\"said\": \"%s\"}' \"$2\"; fi\n"})
    assert load_inventory([folder / "inv"]).hosts[name].vars == {"said": name}
    assert not (folder / "ran").exists()


def test_an_inline_list_may_be_longer_than_a_path() -> None:
    names = tuple(f"web{n}" for n in range(1000))
    assert load_inventory([",".join(names)]).members("ungrouped") == names


def test_names_and_values_are_never_evaluated(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write({"hosts": "w1 a=__import__('os').system('touch${IFS}ran') b='$(touch ran)' c='`touch ran`'\n"})
    monkeypatch.chdir(folder)
    assert load_inventory(["hosts"]).hosts["w1"].vars == {
        "a": "__import__(os).system(touch${IFS}ran)", "b": "$(touch ran)", "c": "`touch ran`"}
    assert not (folder / "ran").exists()


def test_a_host_cannot_name_its_way_out_of_host_vars(write: Write) -> None:
    folder = write({"inv/hosts.yml": "web: {hosts: {../../secret: , /etc/hostname: }}\n", "secret.yml": "x: 1\n",
                    "inv/host_vars/w.yml": "y: 1\n"})
    assert not any(host.vars for host in load_inventory([folder / "inv/hosts.yml"]).hosts.values() if not host.implicit)


def test_unsafe_text_is_rendered_as_it_is(write: Write) -> None:
    from jinja2.sandbox import SandboxedEnvironment

    text = "a {{ x }} {% y %} 'q' \"d\" \\ ü 😀"
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    folder = write({"hosts.yml": "w:\n  vars:\n    a: !unsafe plain\n    c: !unsafe [1, '{{ z }}']\n"
                                 f"    b: !unsafe {quoted}\n"})
    values = load_inventory([folder / "hosts.yml"]).groups["w"].vars
    render = SandboxedEnvironment().from_string
    assert values["a"] == "plain"
    assert render(values["b"]).render() == text
    assert values["c"][0] == 1 and render(values["c"][1]).render() == "{{ z }}"


def test_references_inside_lists_and_mappings_are_found(write: Write) -> None:
    folder = write({"hosts.yml": "w: {hosts: {h: {a: [{secret: env:A}, {b: {secret: 'file:/x'}}]}},"
                                 " vars: {secret: env:B}}\n"})
    assert references_in(load_inventory([folder / "hosts.yml"])) == {"env:A", "file:/x"}


def test_secrets_are_listed_by_their_references(write: Write) -> None:
    folder = write({"hosts.yml": "w: {hosts: {h: {a: !vault x, b: {secret: env:A}}}}\n"})
    shown = as_list(load_inventory([folder / "hosts.yml"]))["_meta"]["hostvars"]["h"]
    assert shown == {"a": f"«secret vault:{folder}/hosts.yml#w.hosts.h.a»", "b": {"secret": "env:A"}}


def test_a_part_of_the_graph_can_be_shown(write: Write) -> None:
    inventory = load_inventory([write({"hosts": "[a]\nx\n[b:children]\na\n"}) / "hosts"])
    assert as_graph(inventory, "b") == "@b:\n  |--@a:\n  |  |--x"
    with pytest.raises(KeyError):
        as_graph(inventory, "nothing")


def test_a_listing_can_be_read_back(write: Write) -> None:
    import json

    folder = write({"hosts": "[a]\nx v=1\n[b:children]\na\n[b:vars]\nw=[1]\n"})
    listed = as_list(load_inventory([folder / "hosts"]))
    (folder / "again").write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(listed)}\nE\n")
    (folder / "again").chmod(0o755)
    assert as_list(load_inventory([folder / "again"])) == listed


def test_ten_thousand_hosts_load_in_seconds(write: Write) -> None:
    folder = write({"hosts": "[web]\nw[00001:10000] a=1\n[eu:children]\nweb\n[eu:vars]\nb=2\n",
                    "group_vars/web.yml": "c: 3\n"})
    begin = time.monotonic()
    inventory = load_inventory([folder / "hosts"])
    assert time.monotonic() - begin < 5
    assert len(inventory.members("eu")) == 10_000 and inventory.hosts["w10000"].vars == {"a": 1, "b": 2, "c": 3}


def test_a_deep_chain_of_groups_is_no_trouble(write: Write) -> None:
    chain = "".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(3000))
    inventory = load_inventory([write({"hosts": chain + "[g3000]\nw1\n"}) / "hosts"])
    assert len(inventory.hosts["w1"].groups) == 3002


def test_yaml_is_not_imported_before_a_source_is_read() -> None:
    script = "import sys, ultraplan.inventory; print({'yaml', 'cryptography', 'subprocess'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("text", "names", "port"), [
    ("w1", ["w1"], None), ("w1:22", ["w1"], 22), ("w[1:2]:22", ["w1", "w2"], 22), ("[::1]:22", ["::1"], 22),
    ("fe80::1", ["fe80::1"], None), ("a b", ["a b"], None), ("w[a:c]", ["wa", "wb", "wc"], None),
    ("w[01:03:2]", ["w01", "w03"], None), ("", [""], None),
])
def test_names_ranges_and_ports_are_told_apart(text: str, names: list[str], port: int | None) -> None:
    assert expand(text) == (names, port)


@pytest.mark.parametrize("text", ["", "a b", "a:b", ":22", "-a", "a-", "a..b", "1::2::3", "$(x)"])
def test_what_is_no_address_is_not_split(text: str) -> None:
    assert split_port(text) is None


def test_the_example_inventory_is_what_its_comments_say() -> None:
    inventory = load_inventory([Path(__file__).parents[2] / "inventories" / "example.yaml"])
    assert inventory.members("production") == tuple(f"{name}.example.com" for name in ("gw1", "gw2", "db1", "db2"))
    assert inventory.hosts["gw1.example.com"].vars == {
        "ansible_user": "deploy", "state_dir": "/var/lib/mcp", "port": 8081,
        "api_token": {"secret": "env:GATEWAY_TOKEN"}}
    assert inventory.hosts["db2.example.com"].vars["role"] == "replica"
