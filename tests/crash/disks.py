"""Disks that fill up, fail and lose power, on a real file system: ext4 on a loop device.

It is shut down by its own ioctl (as `xfs_io -c shutdown` does in the kernel's tests): from then on every access ends
with EIO, and what was not flushed to the device is gone when it is mounted again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, __u32)``, linux/fs/ext4/ext4.h."""
FLUSH, NO_LOG_FLUSH = 0, 2
"""Everything is written out first; or nothing is, as a power cut leaves it."""


class Disk:
    """A disk of ``megabytes`` mounted at ``at``; with ``pid``, in the mount namespace of that process."""

    def __init__(self, at: Path, *, pid: int | None = None, megabytes: int = 12) -> None:
        self._enter = [] if pid is None else ["nsenter", f"--target={pid}", "--mount", "--root", "--wd"]
        self._root = Path("/") if pid is None else Path(f"/proc/{pid}/root")
        self._at = at
        self._image = Path(tempfile.mkdtemp(prefix="ultraplan-disk-")) / "image"
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self._image)], check=True, capture_output=True)
        self._loop = _attach(self._image)
        self._mount()

    @property
    def path(self) -> Path:
        """Where it is mounted, as seen from here."""
        return self._root / self._at.relative_to("/")

    def _mount(self) -> None:
        number = os.minor(Path(self._loop).stat().st_rdev)
        node = f"/dev/crash-loop{number}"
        # a host of the lab has a /dev of its own, without this machine's disks
        self._run(f"mkdir -p '{self._at}' && {{ [ -e {node} ] || mknod {node} b 7 {number}; }} && "
                  f"mount -t ext4 {node} '{self._at}' && rm {node}")

    def fill(self) -> None:
        """Until nothing more can be written."""
        with (self.path / "fill").open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        """Room again."""
        (self.path / "fill").unlink()

    def fail(self, *, lose: bool) -> None:
        """From here on every access ends with EIO. ``lose``: what nobody had flushed is lost."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH if lose else FLUSH))
        finally:
            os.close(handle)

    def repair(self) -> None:
        """Mounted again, with what had reached the device: from a copy, because another mount namespace (a lab that
        was just brought up) may have the broken one mounted still."""
        self._unmount()
        copy = self._image.with_name(f"{self._image.name}+")
        shutil.copyfile(self._image, copy)
        self._detach()
        self._image, self._loop = copy, _attach(copy)
        self._mount()

    def remove(self) -> None:
        """Gone, with all that is on it."""
        self._unmount()
        self._detach()
        shutil.rmtree(self._image.parent, ignore_errors=True)

    def _unmount(self) -> None:
        end = time.monotonic() + 10
        while True:
            done = subprocess.run([*self._enter, "umount", str(self._at)], check=False, capture_output=True, text=True)
            if done.returncode == 0 or "busy" not in done.stderr or time.monotonic() > end:
                return  # or its host has been rebooted, or is gone
            time.sleep(0.05)  # a process that just ended still holds it

    def _detach(self) -> None:
        subprocess.run(["losetup", "-d", self._loop], check=False, capture_output=True)  # once nobody has it mounted

    def _run(self, command: str) -> None:
        subprocess.run([*self._enter, "sh", "-c", command], check=True, capture_output=True)


def _attach(image: Path) -> str:
    """A loop device of the image; others may be after the same free one."""
    for _ in range(50):
        found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
        time.sleep(0.05)
    raise OSError(found.stderr)


def why_unavailable() -> str | None:
    """Why this machine has no such disks; None: it has."""
    if os.geteuid() != 0:
        return "disks that fail need root"
    missing = [tool for tool in ("losetup", "mkfs.ext4", "nsenter") if shutil.which(tool) is None]
    if missing:
        return f"disks that fail need {', '.join(missing)}"
    folder = Path(tempfile.mkdtemp(prefix="ultraplan-disk-"))
    try:
        Disk(folder).remove()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"disks that fail need loop devices and ext4: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None
