"""The lab keeps its word: hosts are real, trouble is as on a real network, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import PASSWORD, Kind, Lab, LabError, Options
from tests.lab.client import REPOSITORY

pytestmark = pytest.mark.lab
HandOut = Callable[..., list[str]]
EVERY_KIND = pytest.mark.parametrize("kind", list(Kind))


def knock(address: str, port: int = 22, seconds: int = 4) -> list[str]:
    """A command for a host: connects to the port and prints the first four bytes that come."""
    return ["timeout", str(seconds), "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && head -c 4 <&3"]


def connect(lab: Lab, host: str, timeout: float = 5) -> socket.socket:
    connection = socket.create_connection((lab.hosts[host].address, 22), timeout)
    connection.settimeout(timeout)
    assert connection.recv(4) == b"SSH-"
    while connection.recv(1) != b"\n":
        pass
    return connection


# -- what a host is ---------------------------------------------------------------------------------------------------


@EVERY_KIND
def test_a_host_answers_ssh_with_its_own_name_and_processes(lab: Lab, lab_hosts: HandOut, kind: Kind) -> None:
    [host] = lab_hosts(1, kind)
    done = lab.ssh(host, "hostname; id -u; cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l")
    name, uid, init, processes = done.stdout.split()
    assert (done.returncode, name, uid) == (0, host, "0")
    assert init == ("systemd" if kind is Kind.SYSTEMD else "sh")
    assert int(processes) < 25


@pytest.mark.parametrize(
    ("kind", "shell"), [(Kind.DEBIAN, "/bin/dash"), (Kind.SYSTEMD, "/bin/dash"), (Kind.BUSYBOX, "/bin/busybox")]
)
def test_sh_is_dash_or_busybox(lab: Lab, lab_hosts: HandOut, kind: Kind, shell: str) -> None:
    [host] = lab_hosts(1, kind)
    assert lab.sh(host, "readlink -f /bin/sh").stdout.strip().removeprefix("/usr") == shell


def test_a_busybox_host_has_nothing_but_busybox_and_sshd(lab: Lab, lab_hosts: HandOut) -> None:
    [host] = lab_hosts(1, Kind.BUSYBOX)
    places = "/bin /sbin /usr/bin /usr/sbin /usr/lib/openssh"
    programs = lab.sh(host, f"find {places} -type f 2>/dev/null; true").stdout.split()
    assert {Path(p).name for p in programs} <= {"busybox", "sshd", "sshd-session", "sshd-auth"}
    for absent in ("python3", "bash", "sudo", "perl", "sftp-server"):
        assert lab.sh(host, f"command -v {absent}", check=False).returncode == 127


def test_systemctl_works_on_a_systemd_host(lab: Lab, lab_hosts: HandOut) -> None:
    [host] = lab_hosts(1, Kind.SYSTEMD)
    assert lab.ssh(host, "systemctl is-system-running --wait").stdout.strip() == "running"
    unit = "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=0\n"
    lab.path(host, "/etc/systemd/system/idle.service").write_text(unit)
    lab.sh(host, "systemctl daemon-reload && systemctl start idle")
    before = lab.sh(host, "systemctl show -P MainPID idle").stdout
    lab.sh(host, f"kill -9 {before}")
    deadline = time.monotonic() + 10
    while (after := lab.sh(host, "systemctl show -P MainPID idle").stdout) in (before, "0\n"):
        assert time.monotonic() < deadline
    assert int(after) > 0
    assert lab.sh(host, "systemctl stop idle; systemctl is-active idle", check=False).stdout == "inactive\n"


def test_the_processes_of_a_systemd_host_are_in_a_cgroup_of_their_own(lab: Lab, lab_hosts: HandOut) -> None:
    [host] = lab_hosts(1, Kind.SYSTEMD)
    cgroup = Path(f"/proc/{lab.pids()[host]}/cgroup").read_text().splitlines()[-1]
    assert cgroup.startswith("0::/ultraplan-lab-")
    assert "ultraplan-lab" not in Path("/proc/self/cgroup").read_text()


@pytest.mark.parametrize("kind", [Kind.DEBIAN, Kind.SYSTEMD])
def test_op_becomes_root_without_a_password_and_oppw_with_one(lab: Lab, lab_hosts: HandOut, kind: Kind) -> None:
    [host] = lab_hosts(1, kind)
    assert lab.ssh(host, "sudo -n id -u", user="op").stdout == "0\n"
    assert lab.ssh(host, "sudo -n id -u", user="oppw").returncode == 1
    assert lab.ssh(host, f"echo '{PASSWORD}' | sudo -S -p '' id -u", user="oppw").stdout == "0\n"


def test_hosts_reach_each_other_and_the_controller_but_nothing_else(lab: Lab, lab_hosts: HandOut) -> None:
    one, other = lab_hosts(2)
    with socket.create_server((lab.controller, 0)) as server:
        knocking = subprocess.Popen([*lab.enter(one), *knock(lab.controller, server.getsockname()[1])])
        server.settimeout(5)
        assert server.accept()[1][0] == lab.hosts[one].address
        knocking.wait()
    assert lab.sh(one, knock(lab.hosts[other].address)).stdout == "SSH-"
    assert "unreachable" in lab.sh(one, knock("192.0.2.1"), check=False).stderr


# -- trouble ----------------------------------------------------------------------------------------------------------


def test_a_cut_host_is_silent_and_its_connections_live_on(lab: Lab, lab_hosts: HandOut) -> None:
    [host] = lab_hosts(1)
    address = (lab.hosts[host].address, 22)
    with connect(lab, host) as open_before:
        lab.cut(host)
        with pytest.raises(TimeoutError):  # neither "refused" nor "no route to host", however long one waits
            socket.create_connection(address, 4)
        open_before.sendall(b"SSH-2.0-test\r\n")
        open_before.settimeout(1)
        with pytest.raises(TimeoutError):
            open_before.recv(1)
        lab.heal(host)
        open_before.settimeout(10)
        assert open_before.recv(1)  # the key exchange that sshd answers with
    connect(lab, host).close()


def test_a_cut_host_meets_silence_too(lab: Lab, lab_hosts: HandOut) -> None:
    one, other = lab_hosts(2)
    lab.cut(other)
    tried = lab.sh(one, knock(lab.hosts[other].address), check=False)
    assert (tried.returncode, tried.stdout, tried.stderr) == (124, "", "")


def test_a_killed_host_sends_no_goodbye(lab: Lab, lab_hosts: HandOut) -> None:
    [host] = lab_hosts(1)
    with connect(lab, host) as connection:
        lab.kill(host)
        connection.settimeout(1.5)
        with pytest.raises(TimeoutError):  # a FIN would be an empty answer, an RST an error
            connection.recv(1)
        with pytest.raises(LabError, match=f"{host} is down"):
            lab.sh(host, "true")
        lab.boot(host)
        # The machine that is back knows nothing of the connection, and says so.
        connection.sendall(b"SSH-2.0-test\r\n")
        connection.settimeout(20)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@EVERY_KIND
def test_a_boot_keeps_the_disk_and_nothing_else(lab: Lab, lab_hosts: HandOut, kind: Kind) -> None:
    [host] = lab_hosts(1, kind)
    lab.sh(host, "echo kept >/root/file; echo lost >/tmp/lost; sleep 4321 >/dev/null 2>&1 &")
    before = lab.sh(host, "cat /proc/sys/kernel/random/boot_id").stdout
    lab.kill(host)
    lab.boot(host)
    script = "cat /root/file; ls /tmp; ps; cat /proc/sys/kernel/random/boot_id"
    after = lab.ssh(host, script).stdout
    assert after.startswith("kept\n")
    assert "lost" not in after
    assert "4321" not in after
    assert after.splitlines()[-1] != before.strip()


@EVERY_KIND
def test_a_reset_makes_the_host_what_it_was(lab: Lab, lab_hosts: HandOut, kind: Kind) -> None:
    [host] = lab_hosts(1, kind)
    clean = lab.tree(host)
    lab.sh(host, "rm -r /home/op /etc/passwd; echo x >/etc/new; chmod 700 /etc; mkdir '/-rf'; ln -s x '/a b\n'")
    assert lab.tree(host) != clean
    lab.reset(host)
    assert lab.tree(host) == clean
    assert lab.ssh(host, "true", user="op").returncode == 0


def test_a_round_trip_takes_twice_the_delay(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("lab")  # for its reasons to skip
    with Lab.up(Options((Kind.DEBIAN,), delay_ms=30)) as slow:
        times = []
        for _ in range(5):
            start = time.monotonic()
            with socket.create_connection((slow.hosts["h1"].address, 22), 5):
                times.append(time.monotonic() - start)
        assert 0.058 <= min(times) < 0.09
        slow.kill("h1")
        slow.boot("h1")
        assert slow.ssh("h1", "echo back").stdout == "back\n"


def test_with_pam_sshd_opens_a_pam_session(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("lab")
    with Lab.up(Options((Kind.DEBIAN,), pam=True)) as lab:
        lab.path("h1", "/etc/pam.d/sshd").write_text(
            "account required pam_permit.so\nauth required pam_permit.so\nsession required pam_env.so conffile=/etc/e\n"
        )
        lab.path("h1", "/etc/e").write_text("FROM_PAM DEFAULT=yes\n")
        assert lab.ssh("h1", "echo $FROM_PAM").stdout == "yes\n"


# -- listings ---------------------------------------------------------------------------------------------------------

CHANGES = {
    "content": "echo x >>/etc/hostname",
    "mode": "chmod 600 /etc/hostname",
    "owner": "chown op /etc/hostname",
    "removed": "rm /etc/hostname",
    "new, with a wild name": "touch '/etc/$(x); \n é'",
    "link": "ln -sf elsewhere /etc/localtime",
    "folder for file": "rm /etc/hostname; mkdir /etc/hostname",
    "folder emptied": "rm -r /etc/cron.d; mkdir /etc/cron.d",
    "file of the image": "rm /usr/bin/env",
    "attribute": "setfattr -n user.x -v 1 /etc/hostname",
    "acl": "setfacl -m u:op:r /etc/hostname",
    "fifo": "mkfifo /srv/pipe",
    "in /tmp": "touch /tmp/x",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_listing_shows_every_change(lab: Lab, lab_hosts: HandOut, change: str) -> None:
    [host] = lab_hosts(1)
    before = lab.tree(host)
    lab.sh(host, change)
    assert lab.tree(host) != before


RESTORED = {
    "content": "cp -a /etc/profile /tmp/s; echo >>/etc/profile; cat /tmp/s >/etc/profile; rm /tmp/s",
    "a link replaced": "cd /etc; rm os-release; mkdir os-release; rmdir os-release; ln -s ../usr/lib/os-release .",
    "a folder replaced": "cp -a /etc/cron.d /tmp/s; rm -r /etc/cron.d; cp -a /tmp/s /etc/cron.d; rm -r /tmp/s",
    "a mode": "chmod 600 /etc/hostname; chmod 644 /etc/hostname",
}


@pytest.mark.parametrize("change", RESTORED.values(), ids=RESTORED.keys())
def test_what_was_put_back_is_no_change_but_its_times_tell(lab: Lab, lab_hosts: HandOut, change: str) -> None:
    [host] = lab_hosts(1)
    before, before_times = lab.tree(host), lab.tree(host, ctimes=True)
    assert lab.tree(host, ctimes=True) == before_times
    lab.sh(host, change)
    assert lab.tree(host) == before
    assert lab.tree(host, ctimes=True) != before_times


def test_a_listing_of_paths_is_whole(lab: Lab, lab_hosts: HandOut) -> None:
    [host] = lab_hosts(1)
    lab.sh(host, "mkdir -m 750 /srv/d; printf abc >/srv/d/f; chown op:op /srv/d/f; ln -s f /srv/d/l")
    tree = lab.tree(host, ["/srv/d", "/no/such"])
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert tree == {
        "/no/such": {"type": "absent"},
        "/srv/d": {"type": "directory", "mode": "0750", "uid": 0, "gid": 0},
        "/srv/d/f": {"type": "file", "mode": "0644", "uid": 4001, "gid": 4001, "size": 3, "sha256": sha256},
        "/srv/d/l": {"type": "link", "mode": "0777", "uid": 0, "gid": 0, "target": "f"},
    }


# -- coming and going -------------------------------------------------------------------------------------------------


def residue(lab: Lab) -> dict[str, object]:
    """What is still there of a lab: its folder, interface, mounts, cgroups, processes."""
    folder, interface = str(lab.layout.root), lab._interface
    mine = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() in process.joinpath("environ").read_bytes() + process.joinpath("cmdline").read_bytes():
                mine.append(process.name)
        except OSError:
            continue
    return {
        "folder": lab.layout.root.exists(),
        "interface": Path("/sys/class/net", interface).exists(),
        "mounts": folder in Path("/proc/self/mountinfo").read_text(),
        "netns": sorted(p.name for p in Path("/run/netns").glob("*")),
        "cgroups": [p for p in lab.cgroups() if p.exists()],
        "processes": mine,
    }


def assert_gone(lab: Lab, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while any((left := residue(lab)).values()):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@pytest.fixture
def able(lab: Lab) -> None:
    """Skips, or in CI fails, where there can be no lab."""


@pytest.mark.usefixtures("able")
def test_nothing_is_left_of_a_lab_that_was_taken_down() -> None:
    lab = Lab.up(Options((Kind.DEBIAN, Kind.BUSYBOX, Kind.SYSTEMD)))
    assert all(residue(lab)[what] for what in ("folder", "interface", "processes", "cgroups"))
    lab.down()
    assert_gone(lab)


CREATOR = """
import sys, time
from pathlib import Path
from tests.lab import Kind, Lab, Options
lab = Lab.up(Options((Kind.DEBIAN, Kind.SYSTEMD), delay_ms=1))
print(lab.layout.root, flush=True)
time.sleep(1000)
"""


def created_by_another_process() -> tuple[subprocess.Popen[str], Lab]:
    creator = subprocess.Popen([sys.executable, "-c", CREATOR], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert creator.stdout
    return creator, Lab(Path(creator.stdout.readline().strip()))


@pytest.mark.usefixtures("able")
def test_a_lab_ends_with_its_creator_even_if_that_was_killed() -> None:
    creator, lab = created_by_another_process()
    assert lab.ssh("s1", "true").returncode == 0
    creator.kill()
    creator.wait()
    assert_gone(lab)


@pytest.mark.usefixtures("able")
def test_the_next_lab_removes_what_one_left_of_which_every_process_was_killed() -> None:
    creator, lab = created_by_another_process()
    for pid in (lab._parent, lab._supervisor):
        os.kill(pid, signal.SIGKILL)
    creator.kill()
    creator.wait()
    assert residue(lab)["folder"]
    Lab.up(Options((Kind.SYSTEMD,))).down()
    assert_gone(lab)


@pytest.mark.usefixtures("able")
def test_two_labs_do_not_meet(lab: Lab) -> None:
    with Lab.up(Options((Kind.DEBIAN,))) as other:
        assert other.hosts["h1"].address != lab.hosts["h1"].address
        other.sh("h1", "echo other >/root/mine")
        assert "/root/mine" not in lab.tree("h1")
        assert "unreachable" in other.sh("h1", knock(lab.hosts["h1"].address), check=False).stderr


@pytest.mark.usefixtures("able")
def test_a_command_line_lab_lives_until_it_is_taken_down(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.lab", *arguments]
        environment = {**os.environ, "LAB_DIR": str(tmp_path / "lab")}
        return subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    up = run("up", "2", "--kinds", "debian,busybox")
    assert up.returncode == 0, up.stderr
    lab = Lab(tmp_path / "lab")
    try:
        assert run("up", "1").stderr.startswith("lab: there is a lab in")
        run("kill", "b1")
        listed = [line.split() for line in run("list").stdout.splitlines()]
        assert [(name, kind, state) for name, kind, _, state in listed] == [
            ("h1", "debian", "up"),
            ("b1", "busybox", "down"),
        ]
        assert run("boot", "b1").returncode == 0
        assert run("sh", "b1", "hostname").stdout == "b1\n"
        assert run("tree", "b1", "/etc/hostname").stdout.startswith('{"path": "/etc/hostname", "type": "file"')
        assert run("cut", "b2").stderr == "lab: no such host: b2 (there are h1, b1)\n"
    finally:
        assert run("down").returncode == 0
    assert_gone(lab)
    assert run("list").stderr.startswith("lab: there is no lab in")
