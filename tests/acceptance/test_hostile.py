"""Names and values of any characters are data, wherever they stand: nothing of them is ever executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.acceptance.world import World, differences

pytestmark = pytest.mark.lab

NAMES = (
    "two words", " space around ", "it's", 'say "hi"', "new\nline", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED;",
    "' ; touch PWNED ; '", '" ; touch PWNED ; "', "&& touch PWNED", "| tee PWNED", "> PWNED", "-rf", "--help", "*", "?",
    "[a-z]", "~", "$HOME", "${PATH}", "%s%n", "\\", "back\\nslash", "#no comment", "!!", "a=b", "ünï©ödé 字 🙂",
    "e\u0301", "tab\there", "\x01\x7f", "{curly,braces}", "end\n", "..x", "$", "'", '"',
)
"""Values without a slash, so that they can be names of files."""

SERVICE = 'printf "<%s>" "$@" >/var/log/arguments; exec sleep 86400'

STEPS = """
- id: folders
  directory: "/srv/here/{{ item }}"
  loop: "{{ vars.names }}"
- id: files
  file: {path: "/srv/here/{{ item }}/{{ item }}", content: "{{ item }}"}
  loop: "{{ vars.names }}"
- id: template
  file: {path: "/srv/here/{{ inputs.name }}/all", template: "tem plate $(touch PWNED).j2"}
- id: links
  link: {path: "/srv/here/{{ item }}/link", target: "{{ item }}"}
  loop: "{{ vars.names }}"
- id: lines
  lineinfile: {path: "/srv/here/{{ item }}/lines", line: "{{ item }}", create: true}
  loop: "{{ vars.lines }}"
- id: blocks
  blockinfile: {path: "/srv/here/{{ item }}/lines", block: "{{ item }}", marker: "{mark} {{ item }}"}
  loop: "{{ vars.lines }}"
- id: tree
  copy: {source: "tr ee", path: "/srv/here/{{ inputs.name }}/tree"}
- id: command
  command:
    argv: [sh, -c, 'printf "<%s>" "$@" "$VALUE" >out && cat >>out', "{{ item }}", "{{ item }}"]
    chdir: "/srv/here/{{ item }}"
    creates: "/srv/here/{{ item }}/out"
    stdin: "{{ item }}"
  environment: {VALUE: "{{ item }}"}
  loop: "{{ vars.names }}"
  undo:
    command: {argv: [rm, -f, --, "/srv/here/{{ item }}/out"]}
- id: script
  script:
    content: 'printf "<%s>" "$@" >script.out'
    args: "{{ vars.names }}"
    chdir: "/srv/here/{{ inputs.name }}"
  undo:
    command: {argv: [rm, -f, script.out], chdir: "/srv/here/{{ inputs.name }}"}
- id: service
  service: {name: odd, state: started, command: "{{ vars.service + vars.names }}",
            pidfile: "/srv/here/{{ inputs.name }}/pid", log: "/var/log/{{ inputs.name }}"}
- id: fact
  set_fact: {names: "{{ vars.names }}"}
- id: holds
  assert: {that: "facts.names == vars.names", message: "{{ inputs.name }}"}
- id: gone
  absent: {path: "/srv/there/{{ item }}", recursive: true}
  loop: "{{ vars.names }}"
"""


@pytest.mark.parametrize("kind", ["debian", "busybox"])
def test_values_in_every_step_are_data_and_arrive_byte_for_byte(world: Callable[..., World], kind: str) -> None:
    here = world(1, kind)
    host = here.hosts[0]
    _there(here)
    here.write("tem plate $(touch PWNED).j2", "{% for n in vars.names %}<{{ n }}>{% endfor %}")
    for name in NAMES:
        here.write(f"tr ee/{name}/{name}", name)
    plan = here.plan(STEPS, vars={"names": list(NAMES), "lines": [n for n in NAMES if n.isprintable()],
                                  "service": ["sh", "-c", SERVICE, "sh"]},
                     inputs={"name": {"type": "string"}}, on_failure="stop")
    odd = "$(touch PWNED) ; touch 'PWNED"
    here.write("inputs.yaml", yaml.safe_dump({"name": odd}))
    here.lab.path(host, f"/srv/here/{odd}").mkdir(parents=True)
    here.sh("mkdir -p /var/lib")  # what the state folder needs above it stays
    before = here.trees()

    here.apply(plan, "-e", "@inputs.yaml").expect(0)

    at = here.lab.path(host, "/srv/here")
    everything = "".join(f"<{name}>" for name in NAMES)
    for name in NAMES:
        assert (at / name / name).read_bytes() == name.encode()
        assert (at / name / "link").readlink() == Path(name)
        assert (at / name / "out").read_bytes() == f"<{name}><{name}>{name}".encode()
        assert (at / odd / "tree" / name / name).read_bytes() == name.encode()
        if name.isprintable():
            assert (at / name / "lines").read_text() == f"{name}\nBEGIN {name}\n{name}\nEND {name}\n"
    assert (at / odd / "all").read_bytes() == everything.encode()
    assert (at / odd / "script.out").read_bytes() == everything.encode()
    assert here.lab.path(host, "/var/log/arguments").read_bytes() == everything.encode()
    assert sorted(here.lab.path(host, "/srv/there").iterdir()) == []
    assert _pwned(here) == []

    here.run("rollback", "--yes").expect(0)
    assert differences(before, here.trees()) == []
    assert _pwned(here) == []


def test_hosts_may_be_called_anything(world: Callable[..., World]) -> None:
    here = world(4)
    names = ["it's; $(touch PWNED)", "-rf", "ünï `touch PWNED` 字", "a/../b"]
    here.inventory({name: {} for name in names})
    plan = here.plan("""
- id: name
  file: {path: "/srv/name", content: "{{ host.name }}"}
- id: command
  command: {argv: [sh, -c, 'printf %s "$1" >/srv/argv', sh, "{{ host.name }}"]}
  undo: {command: rm /srv/argv}
- id: fails
  command: "false"
  when: host.name == groups.all[1] and inputs.fail
  irreversible: it does nothing
""", inputs={"fail": {"type": "boolean"}})
    before = here.trees()

    here.apply(plan, "-e", "fail=false").expect(0)
    for name, host in zip(names, here.hosts, strict=True):
        assert here.lab.path(host, "/srv/name").read_text() == here.lab.path(host, "/srv/argv").read_text() == name
    here.run("rollback", "--yes").expect(0)

    assert differences(before, here.trees()) == []
    assert _pwned(here) == []


def _there(here: World) -> None:
    """Folders to be removed, with files in them."""
    for name in NAMES:
        folder = here.lab.path(here.hosts[0], "/srv/there") / name
        folder.mkdir(parents=True)
        (folder / name).write_text(name)


def _pwned(here: World) -> list[str]:
    """Files that can only be there because data was executed."""
    found = [path for tree in here.trees().values() for path in tree if path.endswith("/PWNED")]
    return found + [str(path) for path in here.folder.rglob("PWNED")]
