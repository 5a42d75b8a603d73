"""The hosts' disks: an image below, which nobody writes to, and for each host an overlay's upper layer above it."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.lab.spec import PASSWORD, USERS, Host, Kind, LabError, Layout, gateway

SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {pam}
UseDNS no
MaxStartups 300:30:400
MaxSessions 100
PrintMotd no
{subsystem}"""
SUDOERS = """\
Defaults env_reset, !lecture, secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
op ALL=(ALL:ALL) NOPASSWD: ALL
oppw ALL=(ALL:ALL) ALL
"""
# What systemd would start that is the machine's business, or that changes the disk while nobody works on it.
MASKED = """
systemd-logind.service systemd-random-seed.service systemd-update-utmp.service systemd-journal-flush.service
systemd-update-utmp-runlevel.service systemd-sysusers.service systemd-firstboot.service
systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service systemd-binfmt.service
systemd-sysctl.service systemd-hwdb-update.service ldconfig.service systemd-pstore.service
kmod-static-nodes.service proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount
sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
systemd-machine-id-commit.service systemd-journal-catalog-update.service systemd-update-done.service
systemd-remount-fs.service getty.target systemd-repart.service systemd-boot-system-token.service
systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer modprobe@.service
"""


def busybox_image(root: Path) -> None:
    """Builds in `root` a system of busybox, sshd and the libraries sshd needs."""
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "etc/ssh", "dev", "proc", "sys", "run", "var/log", "home",
                   "root", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("there is no busybox on this machine (Debian's busybox-static)")
    shutil.copy(Path(busybox).resolve(), root / "bin/busybox")
    applets = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        link = root / applet
        if link.name != "busybox" and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")
    # From 9.8 on sshd is several programs.
    programs = ["/usr/sbin/sshd", *(f"/usr/lib/openssh/{name}" for name in ("sshd-session", "sshd-auth"))]
    for program in filter(os.path.exists, programs):
        _copy(program, root)
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for word in libraries.stdout.split():
            if word.startswith("/"):
                _copy(word, root)


def _copy(path: str, root: Path) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def image(host: Host, layout: Layout) -> Path:
    """The lower layer of the host's disk."""
    return layout.disks / "busybox" if host.kind is Kind.BUSYBOX else Path("/")


def prepare(host: Host, layout: Layout, pam: bool) -> None:
    """Makes the host's disk as it is before the first boot; what was on it is lost."""
    folder = layout.host(host.name)
    for name in ("upper", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    upper = folder / "upper"
    for path, mode in (("etc", 0o755), ("etc/ssh", 0o755), ("root", 0o700), ("home", 0o755)):
        (upper / path).mkdir()
        (upper / path).chmod(mode)
    for private in ("root", "home", "etc/ssh"):  # not what the machine has there
        _opaque(upper / private)
    _etc(host, layout, upper / "etc", pam)
    key = layout.key.with_suffix(".pub").read_bytes()
    _home(upper / "root", 0, key)
    for user, number in USERS.items():
        (upper / "home" / user).mkdir()
        _home(upper / "home" / user, number, key)


def _opaque(folder: Path) -> None:
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def _home(folder: Path, owner: int, key: bytes) -> None:
    (folder / ".ssh").mkdir(mode=0o700)
    (folder / ".ssh/authorized_keys").write_bytes(key)
    for path in (folder, folder / ".ssh", folder / ".ssh/authorized_keys"):
        os.chown(path, owner, owner)
    folder.chmod(0o700)


def _etc(host: Host, layout: Layout, etc: Path, pam: bool) -> None:
    files = {
        "hostname": f"{host.name}\n",
        "hosts": f"127.0.0.1 localhost\n{host.address} {host.name}\n{gateway(host.slot)} controller\n",
        "machine-id": uuid.uuid5(uuid.NAMESPACE_DNS, f"{host.slot}.{host.name}").hex + "\n",
        "resolv.conf": "",
        "ssh/sshd_config": SSHD.format(
            pam="yes" if pam and host.kind is not Kind.BUSYBOX else "no",
            subsystem="" if host.kind is Kind.BUSYBOX else "Subsystem sftp /usr/lib/openssh/sftp-server\n",
        ),
    }
    _accounts(host, files)
    if host.kind is not Kind.BUSYBOX:
        (etc / "sudoers.d").mkdir()
        _opaque(etc / "sudoers.d")
        files["sudoers"] = SUDOERS
    for name, text in files.items():
        (etc / name).write_text(text)
    modes = {"shadow": 0o640, "gshadow": 0o640, "sudoers": 0o440}
    for name, mode in modes.items():
        if name in files:
            (etc / name).chmod(mode)
    if host.kind is not Kind.BUSYBOX:
        for name in ("shadow", "gshadow"):  # Debian's group for them, which sudo's helper is in
            os.chown(etc / name, 0, Path("/etc/shadow").stat().st_gid)
    if host.kind is Kind.SYSTEMD:
        _units(etc)
    _host_key(host, layout, etc / "ssh")


def _accounts(host: Host, files: dict[str, str]) -> None:
    """The machine's own accounts with their passwords locked (busybox: the few that are needed), and the lab's."""
    if host.kind is Kind.BUSYBOX:
        passwd = [
            "root:x:0:0:root:/root:/bin/sh",
            "sshd:x:101:65534::/run/sshd:/bin/false",
            "nobody:x:65534:65534:nobody:/nonexistent:/bin/false",
        ]
        group = ["root:x:0:", "tty:x:5:", "nogroup:x:65534:"]
    else:
        passwd = Path("/etc/passwd").read_text().splitlines()
        group = Path("/etc/group").read_text().splitlines()
    shadow = [f"{line.split(':')[0]}:*:20000:0:99999:7:::" for line in passwd]
    for user, number in USERS.items():
        passwd.append(f"{user}:x:{number}:{number}:{user}:/home/{user}:/bin/sh")
        group.append(f"{user}:x:{number}:")
        shadow.append(f"{user}:{_password() if user == 'oppw' else '*'}:20000:0:99999:7:::")
    files |= {"passwd": "\n".join(passwd) + "\n", "group": "\n".join(group) + "\n", "shadow": "\n".join(shadow) + "\n"}
    files["gshadow"] = "".join(f"{line.split(':')[0]}:*::\n" for line in group)


def _password() -> str:
    """A SHA-512 crypt of PASSWORD; busybox computes it, because Python no longer does."""
    command = ["busybox", "mkpasswd", "-m", "sha512", "-S", "ultraplanlab", PASSWORD]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _units(etc: Path) -> None:
    units = etc / "systemd/system"
    units.mkdir(parents=True)
    _opaque(units)
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants/ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    for unit in MASKED.split():
        (units / unit).symlink_to("/dev/null")
    (etc / "systemd/journald.conf.d").mkdir()
    (etc / "systemd/journald.conf.d/lab.conf").write_text("[Journal]\nStorage=volatile\n")


def _host_key(host: Host, layout: Layout, ssh: Path) -> None:
    """The host's key: made once, the same after every reset."""
    kept = layout.disks / "keys" / host.name
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        make_key(kept, host.name)
    for suffix in ("", ".pub"):
        shutil.copy(f"{kept}{suffix}", f"{ssh}/ssh_host_ed25519_key{suffix}")
    (ssh / "ssh_host_ed25519_key").chmod(0o600)


def make_key(path: Path, comment: str) -> None:
    """An Ed25519 key pair without a passphrase: `path` and `path`.pub."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)
