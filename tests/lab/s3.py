"""A real S3 server on loopback: one Ceph monitor, one OSD in memory, one RADOS gateway, from Debian's packages.

`S3Server.shared(folder)` starts it once for all test processes that name the same folder. A supervisor (`python -m
tests.lab.s3 FOLDER`) owns the daemons and ends them when the last of those processes is gone, however it went.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("ceph-mon", "ceph-osd", "ceph", "monmaptool", "radosgw", "radosgw-admin")
ACCESS_KEY, SECRET_KEY = "ultraplan-tests", "not-a-secret"
_UP = 240.0

_CONF = """\
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{mon_port}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/$name.log
crash_dir = {folder}/crash
ms_bind_msgr2 = false
public_addr = 127.0.0.1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 2000
osd_objectstore = memstore
memstore_device_bytes = 4294967296
mon_data = {folder}/mon
osd_data = {folder}/osd
mon_data_avail_crit = 1
mon_osd_full_ratio = 0.99
[client]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_data = {folder}/rgw
rgw_lc_debug_interval = 5
"""


def why_unavailable() -> str | None:
    """Why there can be no S3 server here; None where there can."""
    if os.geteuid() != 0:
        return "the S3 server needs root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"the S3 server needs {', '.join(missing)} (Debian: ceph-mon, ceph-osd, radosgw)" if missing else None


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server. ``endpoint``: its URL."""

    endpoint: str

    @classmethod
    def of_this_run(cls) -> S3Server:
        """The one server of this test run, whichever of its processes (pytest-xdist) asks."""
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"pid-{os.getpid()}"
        folder = Path(tempfile.gettempdir()) / f"ultraplan-tests-s3-{run}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls.shared(folder)

    @classmethod
    def shared(cls, folder: Path) -> S3Server:
        """The server of ``folder``, started where it does not run; it runs as long as this process."""
        (folder / "users").mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            (folder / "users" / str(os.getpid())).touch()
            told = folder / "server.json"
            if not told.exists():
                log = (folder / "supervisor.log").open("wb")
                subprocess.Popen([sys.executable, "-m", "tests.lab.s3", str(folder)], stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                                 cwd=Path(__file__).parents[2])
                _until(told.exists, "the S3 server", folder / "supervisor.log")
        return cls(json.loads(told.read_text())["endpoint"])


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _until(done: Callable[[], bool], what: str, log: Path) -> None:
    limit = time.monotonic() + _UP
    while not done():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} did not come up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


class _Daemons:
    """The three daemons, owned by the supervisor."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "ceph.conf"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.mon_port, self.port = _free_port(), _free_port()

    def start(self) -> None:
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw", "run", "crash"):
            (self.folder / name).mkdir()
        self.conf.write_text(_CONF.format(fsid=fsid, folder=self.folder, mon_port=self.mon_port, port=self.port))
        monmap = str(self.folder / "monmap")
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{self.mon_port}/0]", monmap)
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self.daemon("ceph-mon", "-i", "a")
        self.wait(lambda: self.run("ceph", "-s", check=False, timeout=5) is not None, "the monitor")
        self.run("ceph", "osd", "new", osd, "0")
        self.run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.daemon("ceph-osd", "-i", "0")
        self.wait(lambda: b"1 up" in (self.run("ceph", "osd", "stat", check=False, timeout=5) or b""), "the OSD")
        self.run("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests",
                 f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}", timeout=_UP)
        self.daemon("radosgw", "-n", "client.rgw.tests")
        self.wait(self.answers, "the gateway")

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def run(self, *words: str, check: bool = True, timeout: float = 60.0) -> bytes | None:
        try:
            done = subprocess.run([words[0], "-c", str(self.conf), *words[1:]] if words[0] != "monmaptool" else words,
                                  capture_output=True, check=check, timeout=timeout)
        except subprocess.TimeoutExpired:
            if check:
                raise
            return None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{words[0]}: {error.stderr.decode(errors='replace')[-1000:]}") from None
        return done.stdout if done.returncode == 0 else None

    def daemon(self, *words: str) -> None:
        self.processes.append(subprocess.Popen([*words, "-c", str(self.conf), "-f"], stdin=subprocess.DEVNULL))

    def wait(self, done: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + _UP
        while not done():
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended with exit {process.returncode}")
            if time.monotonic() > limit:
                raise TimeoutError(f"{what} did not come up")
            time.sleep(0.1)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _in_use(folder: Path) -> bool:
    return any(Path("/proc", user.name).exists() for user in (folder / "users").iterdir())


def supervise(folder: Path) -> None:
    """Start the daemons, say where they are, and end them when nobody uses them any more."""
    daemons = _Daemons(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        daemons.start()
        part = folder / "server.json.part"
        part.write_text(json.dumps({"endpoint": f"http://127.0.0.1:{daemons.port}"}))
        part.rename(folder / "server.json")
        while _in_use(folder):
            time.sleep(0.5)
    finally:
        daemons.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
