"""Becoming another account with the real sudo, in a mount namespace with accounts and a sudoers file of its own."""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport.sshd import Sshd
from ultraplan.secrets import Secrets, marker
from ultraplan.shell import Account
from ultraplan.transport.base import AuthenticationFailed, Connection, TransportError
from ultraplan.transport.become import Become, refused
from ultraplan.transport.target import connector

PASSWORD = "open sesame $x"
HASH = "$6$saltsalt$fY4njgYXEETf2rng7PRbTr7a5o..AshrEYUJ52aNpYPftKOoY99k7qIaoOKxpnKfwB.0va3Z8xyqPKed.vBB51"
USERS = {"asked": "ALL=(ALL) ALL", "free": "ALL=(ALL) NOPASSWD: ALL", "stranger": ""}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """``asked`` may sudo with a password, ``free`` without, ``stranger`` not at all."""
    if shutil.which("unshare") is None or shutil.which("sudo") is None:
        pytest.skip("needs unshare and sudo")
    folder = tmp_path_factory.mktemp("etc")
    mounts = {"passwd": Path("/etc/passwd").read_text(), "shadow": Path("/etc/shadow").read_text(),
              "sudoers": "Defaults !lecture, env_reset\nroot ALL=(ALL:ALL) ALL\n"}
    for number, (user, rule) in enumerate(USERS.items(), 61001):
        mounts["passwd"] += f"{user}:x:{number}:65534::/tmp:/bin/sh\n"
        mounts["shadow"] += f"{user}:{HASH}:19000:0:99999:7:::\n"
        mounts["sudoers"] += f"{user} {rule}\n" if rule else ""
    for name, text in mounts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IMODE(Path(f"/etc/{name}").stat().st_mode))
    binds = "".join(f"mount --bind {folder}/{name} /etc/{name} && " for name in mounts)
    server = Sshd(tmp_path_factory.mktemp("become") / "sshd",
                  wrap=("unshare", "-m", "sh", "-c", f'{binds}exec "$@"', "sh"))
    yield server
    server.stop()


def connect(sshd: Sshd, user: str, password: str | None = None) -> Connection:
    """``password`` stands in the inventory as a reference, never as itself."""
    more = {} if password is None else {"ansible_become_password": marker("env:THE_PASSWORD")}
    os.environ["THE_PASSWORD"] = password or ""
    secrets = Secrets(declared=["env:THE_PASSWORD"])
    return connector({"box": sshd.target(ansible_user=user, **more)}, reveal=secrets.reveal)("box")


ROOT = Account("root", "sudo")


def test_without_a_password_where_none_is_asked_for(sshd: Sshd) -> None:
    connection = connect(sshd, "free")
    assert connection.shell(ROOT).run("id -un; echo $HOME").stdout == b"root\n/root\n"
    assert connection.shell().run("id -un").stdout == b"free\n"
    connection.close()


def test_with_the_password_where_it_is_asked_for(sshd: Sshd) -> None:
    connection = connect(sshd, "asked", PASSWORD)
    assert connection.shell(ROOT).run("id -un; cat").stdout == b"root\n"
    assert connection.shell(Account("stranger")).run("id -un").stdout == b"stranger\n"
    assert connection.side("id -un", ROOT).stdout == b"root\n"
    connection.close()


def test_a_password_that_is_not_asked_for_is_not_sent(sshd: Sshd, tmp_path: Path) -> None:
    connection = connect(sshd, "free", PASSWORD)
    shell = connection.shell(ROOT)
    reply = shell.run("echo fine")
    assert (reply.stdout, reply.stderr) == (b"fine\n", b"")
    connection.upload(b"content", str(tmp_path / "file"), ROOT)
    assert (tmp_path / "file").read_bytes() == b"content"
    connection.close()


def test_the_password_stands_in_no_process_list(sshd: Sshd) -> None:
    connection = connect(sshd, "asked", PASSWORD)
    shown = connection.shell(ROOT).run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; env; set").stdout
    assert b"sudo" in shown and PASSWORD.encode() not in shown and b"sesame" not in shown
    connection.close()


def test_files_come_and_go_with_a_password(sshd: Sshd) -> None:
    connection = connect(sshd, "asked", PASSWORD)
    path = Path("/root") / f"upload-{os.getpid()}"
    try:
        connection.upload(b"x" * 100_000, str(path), ROOT)
        assert path.stat().st_uid == 0 and path.stat().st_size == 100_000
        sink = io.BytesIO()
        connection.download(str(path), sink, ROOT)
        assert sink.getvalue() == b"x" * 100_000
    finally:
        path.unlink(missing_ok=True)
    connection.close()


@pytest.mark.parametrize(("user", "password", "said", "hint"), [
    ("asked", None, "password is required", "ansible_become_password"),
    ("asked", "wrong", "not accepted", "ansible_become_password"),
    ("stranger", PASSWORD, "not in the sudoers", "sudoers"),
    ("stranger", None, "password is required", "ansible_become_password"),
])
def test_a_refusal_says_what_to_do(sshd: Sshd, user: str, password: str | None, said: str, hint: str) -> None:
    connection = connect(sshd, user, password)
    with pytest.raises(AuthenticationFailed, match=said) as caught:
        connection.shell(ROOT).run("echo no")
    assert hint in (caught.value.hint or "")
    assert "sesame" not in f"{caught.value} {caught.value.hint}"
    assert connection.shell().run("id -un").stdout.decode().strip() == user
    connection.close()


def test_a_refused_transfer_leaves_nothing(sshd: Sshd, tmp_path: Path) -> None:
    connection = connect(sshd, "stranger")
    with pytest.raises(TransportError, match="password is required"):
        connection.upload(b"x", str(tmp_path / "file"), ROOT)
    assert list(tmp_path.iterdir()) == []
    connection.close()


@pytest.mark.parametrize(("account", "said"), [
    (Account("root", "runas"), "not supported"), (Account("-i"), "no account name"), (Account(""), "no account name"),
])
def test_what_cannot_be_become_is_refused_before_anything_runs(account: Account, said: str) -> None:
    with pytest.raises(AuthenticationFailed, match=said):
        Become().command("box", account, ("/bin/sh",))


def test_an_account_name_is_never_anything_but_a_name() -> None:
    for method in ("sudo", "doas", "su"):
        command, _ = Become().command("box", Account("x; touch /tmp/pwned", method), ("/bin/sh",))
        assert "'x; touch /tmp/pwned'" in command


def test_what_sudo_said_is_told_and_not_what_a_login_shell_greets_with() -> None:
    told = refused("box", ROOT, "bash: warning: setlocale\nsudo: a password is required\nWELCOME to this host")
    assert str(told).endswith("sudo: a password is required")
    assert "NOPASSWD" in (told.hint or "")
