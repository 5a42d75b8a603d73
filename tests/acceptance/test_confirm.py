"""Changes that may cut the connection, on real hosts with a real firewall and a real sshd: confirmed over a new
connection, or undone by the host itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from tests.acceptance.test_pauses import until
from tests.acceptance.world import GO_ON, REPOSITORY, World, differences, finish, kill

pytestmark = pytest.mark.lab

WINDOW = 6
BEFORE = """\
table inet filter {
  chain input { type filter hook input priority 0; policy accept; tcp dport 9999 drop; }
}
"""
RULES = {
    # What everybody has done once: what is established goes on, so that all looks well.
    "new connections dropped": """\
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    tcp dport 22 drop
  }
}
""",
    "everything dropped": """\
table inet filter {
  chain input { type filter hook input priority 0; policy drop; }
}
""",
    "everything refused": """\
table inet filter {
  chain input { type filter hook input priority 0; policy accept; tcp dport 22 reject with tcp reset; }
}
""",
    "connections seen": """\
table inet filter {
  set seen { type inet_service; flags dynamic; }
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport 22 tcp flags & (syn | ack) == syn add @seen { tcp sport }
    tcp dport 9999 drop
  }
}
""",
    # Whoever was connected has to come anew; a new connection is let in.
    "old connections dropped": """\
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport 22 tcp sport PORT drop
    tcp dport 9999 drop
  }
}
""",
}
STEPS = """
- {id: rules, file: {path: /etc/nftables.new, content: "{{ vars.rules }}"}}
- id: save
  command: {run: "{ echo flush ruleset; nft list ruleset; } >/root/ruleset", creates: /root/ruleset}
  undo: {command: {run: rm -f /root/ruleset}}
- id: load
  command:
    run: |
      echo "$SSH_CONNECTION" >/var/log/before
      set -- $SSH_CONNECTION
      { echo flush ruleset; sed "s/PORT/$2/" /etc/nftables.new; } | nft -f -
      echo load >>/var/log/counter
  undo: {command: {run: "nft -f /root/ruleset && echo unload >>/var/log/counter"}}
  confirm: WINDOWs
- id: last
  command: {run: "echo \\"$SSH_CONNECTION\\" >/var/log/after; echo last >>/var/log/counter"}
  undo: {command: {run: "echo unlast >>/var/log/counter"}}
"""


class Firewall:
    """A world of one host with a firewall, and the plan that changes it."""

    def __init__(self, world: World) -> None:
        self.world, self.host, self.lab = world, world.hosts[0], world.lab
        world.write("ssh_config", "Host *\n  ConnectTimeout 2\n  ServerAliveInterval 1\n  ServerAliveCountMax 2\n")
        world.write("ultraplan.yaml", "ssh_config: ssh_config\n")
        self.lab.sh(self.host, ["nft", "-f", "-"], input=BEFORE)
        self.rules, self.trees = self.loaded(), world.trees()

    def plan(self, rules: str, window: int = WINDOW) -> None:
        self.world.plan(STEPS.replace("WINDOW", str(window)), vars={"rules": RULES[rules]})

    def loaded(self) -> str:
        """The rules as the host has them."""
        return self.lab.sh(self.host, ["nft", "list", "ruleset"]).stdout

    def counts(self) -> Mapping[str, int]:
        return self.world.counts(self.host)

    def as_before(self) -> None:
        """Rules, files and processes are as they were."""
        assert self.loaded() == self.rules
        assert differences(self.trees, self.world.trees()) == []
        self.quiet()

    def quiet(self) -> None:
        """Nothing is armed, and no timer goes."""
        state = "ls -d /var/lib/ultraplan/armed.* /var/lib/ultraplan/runs/*/*.armed 2>/dev/null; "
        shown = self.lab.sh(self.host, state + "pgrep -f '[.]d[0-9]+[.]armed'",
                            check=False).stdout
        assert shown.split("\n") == [""], shown

    def port(self, when: str) -> str:
        """The client's port of the connection that a command ran over."""
        return self.world.text(self.host, f"/var/log/{when}").split()[1]


@pytest.fixture
def firewall(world: Callable[..., World]) -> Firewall:
    return Firewall(world(1))


def test_what_lets_the_controller_in_is_confirmed_over_a_new_connection(firewall: Firewall) -> None:
    firewall.plan("connections seen")
    shown = firewall.world.on("plan", "plan.yaml").expect(0)
    assert f"armed: undone by the host itself unless confirmed within {WINDOW}s" in shown.out
    firewall.world.apply("plan.yaml").expect(0)
    assert firewall.counts() == {"load": 1, "last": 1}
    old, new = firewall.port("before"), firewall.port("after")
    assert old != new
    seen = firewall.loaded().partition("elements = {")[2].partition("}")[0]
    assert new in seen.replace(",", " ").split(), "the connection that confirmed it was made after the change"
    assert old not in seen.replace(",", " ").split()
    firewall.quiet()
    time.sleep(WINDOW + 2)
    assert firewall.counts() == {"load": 1, "last": 1}
    firewall.world.run(*GO_ON["rollback"]).expect(0)
    firewall.as_before()


@pytest.mark.parametrize("rules", [
    "new connections dropped",
    pytest.param("everything dropped", marks=pytest.mark.long),
    pytest.param("everything refused", marks=pytest.mark.long),
])
def test_a_rule_that_locks_the_controller_out_is_undone_by_the_host_itself(firewall: Firewall, rules: str) -> None:
    firewall.plan(rules)
    done = firewall.world.apply("plan.yaml").expect(1)
    assert f"not confirmed over a new connection within {WINDOW}s; the host has undone it by itself" in done.out
    assert "closed: rolled back" in done.out
    assert firewall.counts() == {"load": 1, "unload": 1}
    firewall.as_before()


@pytest.mark.long
def test_a_change_that_cuts_old_connections_only_is_confirmed_and_the_run_goes_on(firewall: Firewall) -> None:
    firewall.plan("old connections dropped", 30)
    began = time.monotonic()
    firewall.world.apply("plan.yaml").expect(0)
    assert time.monotonic() - began < 30
    assert firewall.port("before") != firewall.port("after")
    assert firewall.counts() == {"load": 1, "last": 1}
    firewall.quiet()


@pytest.mark.parametrize(("rules", "verb", "late"), [
    ("connections seen", "resume", False),
    pytest.param("connections seen", "rollback", False, marks=pytest.mark.long),
    pytest.param("connections seen", "resume", True, marks=pytest.mark.long),
    ("new connections dropped", "resume", False),
    pytest.param("everything dropped", "resume", True, marks=pytest.mark.long),
    pytest.param("everything dropped", "rollback", False, marks=pytest.mark.long),
])
def test_a_controller_killed_before_it_confirms_finds_it_confirmed_or_undone_once(
        firewall: Firewall, rules: str, verb: str, late: bool) -> None:
    good = rules == "connections seen"
    window = 60 if good and not late else WINDOW
    firewall.plan(rules, window)
    if good:  # killed as soon as it could confirm
        firewall.world.env["ULTRAPLAN_FAULT"] = "before-disarm@load"
        process = firewall.world.start_run("plan.yaml")
        finish(process).expect(-9)
        del firewall.world.env["ULTRAPLAN_FAULT"]
    else:
        process = firewall.world.start_run("plan.yaml")
        until(lambda: "load" in firewall.counts())
        kill(process)
    assert firewall.counts() == {"load": 1}
    if late:
        until(lambda: firewall.counts() == {"load": 1, "unload": 1}, WINDOW + 10)
    done = firewall.world.run(*GO_ON[verb])
    if good and verb == "resume" and not late:
        done.expect(0)
        assert firewall.counts() == {"load": 1, "last": 1}
        firewall.quiet()
        return
    done.expect(1 if verb == "resume" else 0)
    assert firewall.counts() == {"load": 1, "unload": 1}
    firewall.as_before()


SSHD = """
- id: login
  script:
    content: |
      cp -p /etc/ssh/sshd_config /root/sshd_config
      echo "ALLOW" >>/etc/ssh/sshd_config
      sshd -t && kill -HUP "$(cat /run/sshd.pid)"
  undo:
    command:
      run: |
        [ ! -e /root/sshd_config ] || mv -f /root/sshd_config /etc/ssh/sshd_config
        kill -HUP "$(cat /run/sshd.pid)"
  confirm: WINDOWs
- {id: last, file: {path: /srv/last, content: "1"}}
"""


@pytest.mark.parametrize(("allow", "kept"), [("AllowUsers nobody", False), ("AllowUsers root", True)])
@pytest.mark.long
def test_an_sshd_that_refuses_logins_after_a_reload_gets_its_configuration_back(
        firewall: Firewall, allow: str, kept: bool) -> None:
    firewall.world.plan(SSHD.replace("ALLOW", allow).replace("WINDOW", str(WINDOW)))
    done = firewall.world.apply("plan.yaml").expect(0 if kept else 1)
    assert (allow in firewall.world.text(firewall.host, "/etc/ssh/sshd_config")) is kept
    if not kept:
        assert "the host has undone it by itself" in done.out
        firewall.as_before()
    assert firewall.lab.ssh(firewall.host, "true").returncode == 0


SYSTEMD = """
- id: login
  script:
    content: |
      cp -p /etc/ssh/sshd_config /root/sshd_config
      echo "ALLOW" >>/etc/ssh/sshd_config
      sshd -t && systemctl restart ssh
  undo:
    command:
      run: |
        [ ! -e /root/sshd_config ] || mv -f /root/sshd_config /etc/ssh/sshd_config
        systemctl restart ssh
  confirm: WINDOWs
  become: true
- {id: again, service: {name: ssh, state: restarted}, confirm: WINDOWs, become: true}
"""


@pytest.mark.parametrize(("allow", "kept"), [("AllowUsers nobody", False), ("AllowUsers op root", True)])
@pytest.mark.parametrize("killed_with_sshd", [False, True])
@pytest.mark.long
def test_a_restart_of_sshd_by_systemd_is_confirmed_or_undone_whatever_ends_with_it(
        world: Callable[..., World], allow: str, kept: bool, killed_with_sshd: bool) -> None:
    here = world(1, "systemd")
    host, = here.hosts
    here.inventory({host: {}}, ansible_user="op")
    if killed_with_sshd:  # a restart ends every session, and all that these have started
        here.sh("mkdir -p /etc/systemd/system/ssh.service.d && printf '[Service]\\nKillMode=control-group\\n' "
                ">/etc/systemd/system/ssh.service.d/kill.conf && systemctl daemon-reload")
    config = here.text(host, "/etc/ssh/sshd_config")
    here.plan(SYSTEMD.replace("ALLOW", allow).replace("WINDOW", "15"))
    done = here.apply("plan.yaml").expect(0 if kept and not killed_with_sshd else 1)
    if kept and not killed_with_sshd:
        assert here.text(host, "/etc/ssh/sshd_config") == f"{config}{allow}\n"
    else:  # a step that ends the session it runs in has no exit code to be judged by
        assert "the host has undone it by itself" in done.out
        assert here.text(host, "/etc/ssh/sshd_config") == config
    assert here.lab.ssh(host, "true", user="op").returncode == 0
    assert here.lab.sh(host, "pgrep -f '[.]d[0-9]+[.]armed'", check=False).stdout == ""


@pytest.mark.parametrize("shut", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_example_does_what_its_page_says_by_sudo(firewall: Firewall, shut: bool) -> None:
    here = firewall.world
    here.inventory({firewall.host: {}}, ansible_user="op")
    example = REPOSITORY / "examples" / "firewall"
    rules = (example / "rules.nft").read_text()
    here.write("rules.nft", "".join(line for line in rules.splitlines(True) if not shut or "dport 22" not in line))
    here.write("firewall.yaml", (example / "firewall.yaml").read_text().replace("60s", f"{WINDOW}s" if shut else "60s"))
    kept = here.text(firewall.host, "/etc/nftables.conf")
    done = here.apply("firewall.yaml").expect(1 if shut else 0)
    if shut:
        assert "the host has undone it by itself" in done.out
        firewall.as_before()
    else:
        assert "policy drop" in firewall.loaded()
        assert here.text(firewall.host, "/etc/nftables.conf") == rules != kept
        firewall.quiet()
        here.run(*GO_ON["rollback"]).expect(0)
        firewall.as_before()


@pytest.mark.long
def test_a_host_that_is_rebooted_while_it_waits_is_put_back_by_the_run(firewall: Firewall) -> None:
    """A new kernel has forgotten the rules, as any has that were not saved; the run undoes what it did, as far as it is
    still there."""
    firewall.plan("connections seen", 60)
    firewall.world.env["ULTRAPLAN_FAULT"] = "before-disarm@load"
    finish(firewall.world.start_run("plan.yaml")).expect(-9)
    del firewall.world.env["ULTRAPLAN_FAULT"]
    firewall.lab.boot(firewall.host)
    done = firewall.world.run("resume").expect(1)
    assert f"{firewall.host} was rebooted before anybody confirmed it" in done.out
    assert firewall.counts() == {"load": 1, "unload": 1}
    firewall.as_before()
