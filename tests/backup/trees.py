"""Generated trees of files with all that a file system can hold, and what is compared of them."""
# ruff: noqa: E501, PTH101, PTH102, PTH115, PTH118, PTH123, PTH208, PTH211 - paths are bytes here

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import stat
import subprocess
from pathlib import Path

ODD = [
    b"plain", b"with space", b"-rf", b"--checkpoint-action=exec=sh", b"new\nline", b"tab\there", b"quote'\"", b"$(id)", b"`id`",
    b";ls", b"back\\slash", b"back\\nslash", b"*", b"?", b"[a-z]", b"~", b"#x", b"@LongLink", "žluťoučký".encode(), b"\xff\xfe latin",
    b"\xe2\x80\xae rtl", b"x" * 200, b".hidden", b"...", b" ", b"a=b", b"\x01ctl", b"\\101", b"GNUSparseFile.0", b"PaxHeaders",
    b"%d", b"caf\xc3\xa9", b"!", b"0", b"con:", b"end ", b"\x7f",
]


def grow(root: Path, seed: int, members: int = 40) -> None:
    """A tree at ``root``, the same for the same ``seed``."""
    rng = random.Random(seed)
    top = os.fsencode(root)
    os.mkdir(top)
    folders, files, everything = [top], [], [top]
    for _ in range(rng.randint(0, members)):
        name = rng.choice(ODD) if rng.random() < 0.7 else rng.randbytes(6).hex().encode()
        path = os.path.join(rng.choice(folders), name)
        if os.path.lexists(path) or len(path) > 3500:
            continue
        _make(rng, path, folders, files)
        everything.append(path)
    for path in reversed(everything):
        _dress(rng, path)


def _make(rng: random.Random, path: bytes, folders: list[bytes], files: list[bytes]) -> None:
    kind = rng.choices(["file", "dir", "symlink", "hardlink", "sparse", "fifo"], [6, 3, 2, 2, 1, 0.5])[0]
    if kind == "dir":
        os.mkdir(path)
        folders.append(path)
    elif kind == "symlink":
        os.symlink(rng.choice([b"/etc/passwd", b"../..", b"nowhere", rng.choice(ODD), b"y" * 300]), path)
        if rng.random() < 0.2:
            files.append(path)
    elif kind == "hardlink" and files:
        os.link(rng.choice(files), path, follow_symlinks=False)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "sparse":
        with open(path, "wb") as file:
            for _ in range(rng.randint(0, 5)):
                file.seek(rng.randrange(0, 3_000_000))
                file.write(rng.randbytes(rng.randint(1, 5000)))
            file.truncate(rng.randrange(0, 4_000_000))
        files.append(path)
    else:
        with open(path, "wb") as file:
            file.write(rng.choice([b"", b"x", rng.randbytes(rng.choice([511, 512, 513, 10_240, 70_000])), b"text\n" * 100]))
        files.append(path)


def _dress(rng: random.Random, path: bytes) -> None:
    status = os.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    if rng.random() < 0.3:
        os.lchown(path, rng.choice([0, 1, 33, 65534, 123456, 3_000_000]), rng.choice([0, 4, 33, 99999]))
    if not link and rng.random() < 0.5:
        os.chmod(path, rng.choice([0o600, 0o644, 0o755, 0o000, 0o4755, 0o2711, 0o1777, 0o400, 0o7777]))
    if rng.random() < 0.3 and not link and not stat.S_ISFIFO(status.st_mode):
        for _ in range(rng.randint(1, 3)):
            os.setxattr(path, rng.choice([b"user.one", b"user.with space", b"user.\xc3\xa9", b"trusted.deep", b"user.a=b"]),
                        rng.choice([b"", b"value", b"line\nline\0nul", rng.randbytes(300)]))
    if rng.random() < 0.2 and not link and not stat.S_ISFIFO(status.st_mode):
        rules = ["u:daemon:r", "g:adm:rw", "u:4711:rwx"]
        subprocess.run(["setfacl", "-m", rng.choice(rules), "--", path], check=True)
        if stat.S_ISDIR(status.st_mode) and rng.random() < 0.5:
            subprocess.run(["setfacl", "-d", "-m", rng.choice(rules), "--", path], check=True)
    when = rng.choice([0, 1, -1_500_000_001, 1_700_000_000_123_456_789, 5_000_000_000_000_000_001, 999_999_999])
    os.utime(path, ns=(when, when), follow_symlinks=False)


def snapshot(root: Path) -> dict[bytes, tuple[object, ...]]:
    """All that a restore must bring back, by path below ``root``."""
    top = os.fsencode(root)
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[tuple[int, int], list[bytes]] = {}
    stack = [top]
    while stack:
        path = stack.pop()
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            stack += [os.path.join(path, name) for name in os.listdir(path)]
        name = os.path.relpath(path, top)
        inodes.setdefault((status.st_dev, status.st_ino), []).append(name)
        content: object = None
        if kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        attributes = {}
        with contextlib.suppress(OSError):
            for attribute in os.listxattr(path, follow_symlinks=False):
                attributes[attribute] = os.getxattr(path, attribute, follow_symlinks=False)
        holes = kind == stat.S_IFREG and status.st_size > 1 << 20 and status.st_blocks * 512 < status.st_size / 2
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
                       status.st_size if kind == stat.S_IFREG else None, content, tuple(sorted(attributes.items())), holes)
    for names in inodes.values():
        for name in names:
            found[name] += (tuple(sorted(names)),)
    return found
