"""Templates in an existing inventory's variables mean in plans what they mean to Ansible: bare names, magic variables,
the plan's variables first; they are rendered when they are used, and what cannot be is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultraplan.engine.job import Job, Request, compile_job
from ultraplan.engine.settings import find_settings
from ultraplan.inventory import load_inventory
from ultraplan.inventory.variables import World
from ultraplan.language.errors import SourceError
from ultraplan.language.expressions import evaluate

FILES = {
    "hosts.yml": """\
all:
  vars: {ansible_connection: local, unused: "{{ nowhere }}"}
  children:
    web:
      hosts:
        web1.example.org: {ip: 192.0.2.1}
        web2.example.org: {ip: 192.0.2.2, port: 9090}
    db: {hosts: {db1: {ip: 192.0.2.9}}}
""",
    "group_vars/all.yml": """\
port: 80
url: "http://{{ app_host }}:{{ port }}/"
app_host: "{{ inventory_hostname_short }}.internal"
settings: {listen: "{{ ip }}:{{ port }}", peers: ["{{ url }}"]}
me: "{{ inventory_hostname }} in {{ group_names | join(',') }}"
database: "{{ hostvars[groups['db'][0]].ip }}:{{ hostvars['db1'].port }}"
all_web: "{{ groups.web | length }}"
others: "{% for h in groups['web'] if h != inventory_hostname %}{{ hostvars[h].url }}{% endfor %}"
optional: "{{ may_be | default('no') }}"
here: "{{ inventory_dir }}/x"
ansible_host: "{{ ip }}"
pair: "{{ vars['port'] }}-{{ vars.ip }}"
conditional: "{{ debug_url if debug is defined else url }}"
""",
}


def job(folder: Path, plan: str, files: dict[str, str] | None = None) -> Job:
    for name, text in {**FILES, **(files or {}), "plans/plan.yaml": plan}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    settings = find_settings(folder, {"HOME": str(folder)}, str(folder / "state"))
    return compile_job(Request(plan=str(folder / "plans/plan.yaml"), inventory=(str(folder / "hosts.yml"),)), settings)


def step(expression: str, head: str = "") -> str:
    return f"plan: p\nhosts: web\n{head}\nsteps:\n- {{id: a, command: \"echo {expression}\", reads_only: true}}\n"


@pytest.mark.parametrize(("expression", "head", "expected"), [
    ("vars.url", "", "http://web1.internal:80/"),
    ("vars.url", "vars: {port: 81}", "http://web1.internal:81/"),
    ("host.vars.url", "vars: {port: 81}", "http://web1.internal:80/"),
    ("vars.settings", "", {"listen": "192.0.2.1:80", "peers": ["http://web1.internal:80/"]}),
    ("vars.me", "", "web1.example.org in web"),
    ("vars.database", "", "192.0.2.9:80"),
    ("vars.all_web", "", 2),
    ("vars.others", "", "http://web2.internal:9090/"),
    ("vars.optional", "", "no"),
    ("vars.pair", "", "80-192.0.2.1"),
    ("vars.conditional", "", "http://web1.internal:80/"),
    ("host.address", "", "192.0.2.1"),
    ("vars.mine", "vars: {mine: '{{ vars.url }}{{ host.name }}'}", "http://web1.internal:80/web1.example.org"),
])
def test_what_a_plan_sees(tmp_path: Path, expression: str, head: str, expected: object) -> None:
    compiled = job(tmp_path, step("{{ " + expression + " }}", head))
    node, host = compiled.graph.nodes["a"], compiled.graph.inventory.hosts["web1.example.org"]
    assert evaluate(expression, compiled.scope.names(node, host)) == expected
    compiled.close()


def test_the_folder_and_file_of_the_inventory_are_known(tmp_path: Path) -> None:
    compiled = job(tmp_path, step("{{ vars.here }}"))
    names = compiled.scope.names(compiled.graph.nodes["a"], compiled.graph.inventory.hosts["web1.example.org"])
    assert evaluate("vars.here", names) == f"{tmp_path}/x"


def test_a_loop_goes_over_what_is_the_same_when_it_is_rendered(tmp_path: Path) -> None:
    files = {"group_vars/web.yml": "names: [\"{{ prefix }}a\", b]\nprefix: x\nown: [\"{{ inventory_hostname }}\"]\n"}
    plan = step("{{ item }}").replace("command", "loop: '{{ vars.LIST }}', command")
    compiled = job(tmp_path, plan.replace("LIST", "names"), files)
    assert [node.item for node in compiled.graph.nodes.values()] == ["xa", "b"]
    with pytest.raises(SourceError, match=r"vars.own differs between web1.example.org and web2"):
        job(tmp_path, plan.replace("LIST", "own"), files)


@pytest.mark.parametrize(("variable", "expression", "at", "said"), [
    ("broken: '{{ app_hots }}'", "vars.broken", "web.yml:1:9", "'app_hots' is not defined; did you mean 'app_host'?"),
    ("outer: 'a{{ broken }}'\nbroken: '{{ app_hots }}'", "vars.outer", "web.yml:2:9", "'app_hots' is not defined"),
    ("a: '{{ b }}'\nb: '{{ a }}'", "host.vars.a", "web.yml:1:4", "these variables need each other: a → b → a"),
    ("a: '{{ groups.wbe }}'", "vars.a", "web.yml:1:4", "the inventory has no group 'wbe'"),
    ("a: '{{ hostvars.nobody.x }}'", "vars.a", "web.yml:1:4", "the inventory has no host 'nobody'"),
    ("a: '{{ 1 | foo }}'", "vars.a", "web.yml:1:4", "there is no filter 'foo'"),
    ("a: \"{{ lookup('env', 'X') }}\"", "vars.a", "web.yml:1:4", "{secret: env:NAME}"),
])
def test_what_cannot_be_rendered_is_told_with_its_place(
    tmp_path: Path, variable: str, expression: str, at: str, said: str,
) -> None:
    with pytest.raises(SourceError) as caught:
        job(tmp_path, step("{{ " + expression + " }}"), {"group_vars/web.yml": variable + "\n"})
    found, = caught.value.diagnostics
    assert found.at is not None
    assert str(found.at) == f"{tmp_path}/group_vars/{at}"
    assert said in found.message
    assert "for web1.example.org, web2.example.org" in found.message
    assert "plan.yaml:5" in (found.hint or "")


def test_a_variable_that_nobody_uses_may_be_broken(tmp_path: Path) -> None:
    job(tmp_path, step("{{ vars.url }}")).close()


def test_ini_inventories_have_places_too(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[web]\nw1 url={{nope}}\n")
    inventory = load_inventory([tmp_path / "hosts.ini"])
    place = inventory.place("w1", "url")
    assert place is not None
    assert str(place.at) == f"{tmp_path}/hosts.ini:2:8"


def test_hosts_see_each_other_without_end_only_where_they_really_do(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        "all: {hosts: {a: {x: '{{ hostvars.b.x }}'}, b: {x: '{{ hostvars.c.x }}'}, c: {x: 1}}}\n")
    assert World(load_inventory([tmp_path / "hosts.yml"]))["a"]["x"] == 1
