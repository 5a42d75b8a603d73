"""Backups as steps of plans, on this machine and over SSH."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.backup.conftest import Backups
from tests.backup.trees import grow, snapshot
from tests.conformance.transports import opened
from ultraplan.backup.catalogue import find, hold
from ultraplan.backup.errors import BackupError, Refused, SourceFailed
from ultraplan.backup.keys import keygen
from ultraplan.backup.sources.host import HostFiles
from ultraplan.backup.stores.base import Writer
from ultraplan.backup.write import create
from ultraplan.cli.main import main
from ultraplan.shell import Reply
from ultraplan.transport.base import Connection, ConnectionLost
from ultraplan.transport.streaming import exchange


class Link:
    """A host of a transport as a source needs it."""

    name, address = "web1", "192.0.2.1"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def look(self, text: str) -> Reply:
        return self.connection.shell().run(text)

    def stream(self, text: str, sink: Writer) -> Reply:
        return exchange(self.connection, text, sink=sink)


@contextmanager
def linked(transport: str) -> Iterator[Link]:
    with opened(transport) as connection:
        yield Link(connection)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners and trusted attributes need root")
@pytest.mark.parametrize("transport", ["ssh-dash", "local-dash"])
def test_a_hosts_files_come_as_a_stream_and_are_restored_equal(
        backups: Backups, tmp_path: Path, transport: str) -> None:
    grow(tmp_path / "it's a \"tree\"", 5)
    (tmp_path / "large").write_bytes(os.urandom(12_000_000))
    roots = [tmp_path / "it's a \"tree\"", tmp_path / "large"]
    with linked(transport) as link:
        made = create(backups.store, HostFiles(link, [str(root) for root in roots]), backups.order())
    assert made.manifest.host.name == "web1"
    assert made.manifest.host.hostname == os.uname().nodename
    backups.restore(tmp_path / "target")
    for root in roots:
        assert snapshot(tmp_path / "target" / str(root)[1:]) == snapshot(root)


def test_a_host_without_gnu_tar_is_told(backups: Backups, tree: Path) -> None:
    """A shell of busybox has a tar of its own, which would lose attributes and nanoseconds."""
    with linked("ssh-busybox") as link, pytest.raises(BackupError, match="no GNU tar"):
        create(backups.store, HostFiles(link, [str(tree)]), backups.order())
    assert list(backups.store.list()) == []


def test_what_a_host_does_not_have_makes_no_set(backups: Backups, tree: Path) -> None:
    with linked("ssh-dash") as link:
        with pytest.raises(SourceFailed, match="nothing is not there, on web1"):
            create(backups.store, HostFiles(link, [f"{tree}/nothing"]), backups.order())
        with pytest.raises(Refused, match="symbolic link"):
            create(backups.store, HostFiles(link, [f"{tree}/etc/link"]), backups.order())
    assert list(backups.store.list()) == []


def test_a_connection_that_is_lost_in_the_middle_makes_no_set(backups: Backups, tree: Path) -> None:
    (tree / "data/large").write_bytes(os.urandom(30_000_000))
    with linked("ssh-dash") as link:
        pids: list[int] = []

        def cut(count: int) -> None:
            """Ends the host's tar and the shell around it as a lost connection does: without a word."""
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal() and not pids:
                    try:
                        words = (entry / "cmdline").read_bytes().split(b"\0")
                    except OSError:
                        continue
                    if words[0] == b"tar" and str(tree)[1:].encode() in b" ".join(words):
                        pids.append(int(entry.name))
                        os.kill(pids[0], 9)

        with pytest.raises((SourceFailed, ConnectionLost)):
            create(backups.store, HostFiles(link, [str(tree)]), backups.order(read=cut))
    assert pids
    assert list(backups.store.list()) == []


def test_a_key_that_is_kept_on_the_host_is_refused_by_any_of_its_names(backups: Backups, tree: Path) -> None:
    from dataclasses import replace

    from ultraplan.backup.keys import read_keys

    for number, name in enumerate(("web1", "192.0.2.1", os.uname().nodename)):
        keygen(backups.folder / str(number), name)
        keys = read_keys([backups.folder / str(number) / "recovery.pub"])
        with linked("local-dash") as link, pytest.raises(Refused, match="lost together"):
            create(backups.store, HostFiles(link, [str(tree)]), replace(backups.order(), keys=keys))


def test_a_stream_goes_both_ways_at_once() -> None:
    """More than any buffer holds, through a program that answers while it reads."""
    content, got = os.urandom(5_000_000), bytearray()

    class Source:
        def __init__(self) -> None:
            self.at = 0

        def read(self, count: int) -> bytes:
            part = content[self.at:self.at + count]
            self.at += len(part)
            return part

    class Sink:
        def write(self, data: bytes) -> None:
            got.extend(data)

    for transport in ("ssh-dash", "local-busybox"):
        got.clear()
        with opened(transport) as connection:
            reply = exchange(connection, "cat; echo words >&2; exit 7", source=Source(), sink=Sink())
        assert (bytes(got) == content, reply.exit, reply.stderr) == (True, 7, b"words\n")


# -- in plans

PLAN = """\
plan: nightly
hosts: localhost
steps:
  - id: safe
    backup:
      name: "{{ host.name }}-app"
      paths: ["TREE"]
      store: store
      keys: [keys/recovery.pub]
      signing_key: keys/signing.key
  - id: restorable
    backup_verify:
      set: "{{ steps.safe.outputs.set }}"
      store: store
      keys: [keys/recovery.key]
      level: restore
      max_age: 1h
  - id: few
    backup_prune: {store: store, keys: [keys/recovery.pub], keep_last: 2}
    irreversible: what retention removes is gone
"""


class Plans:
    """Plans in the folder of a store and its keys."""

    def __init__(self, backups: Backups, capsys: pytest.CaptureFixture[str]) -> None:
        self.backups, self._capsys = backups, capsys

    def __call__(self, verb: str, plan: str, *words: str) -> tuple[int, str]:
        folder = self.backups.folder
        (folder / "plan.yaml").write_text(plan)
        (folder / "inventory.yaml").write_text(
            f"all: {{hosts: {{localhost: {{ansible_connection: local, ultraplan_state_dir: {folder}/host}}}}}}\n")
        state = [] if verb == "validate" else ["--state", str(folder / "state")]
        code = main([verb, str(folder / "plan.yaml"), "-i", str(folder / "inventory.yaml"), *state, *words])
        out, err = self._capsys.readouterr()
        return code, out + err


@pytest.fixture
def plans(backups: Backups, capsys: pytest.CaptureFixture[str]) -> Plans:
    return Plans(backups, capsys)


def test_a_plan_backs_up_proves_and_prunes(plans: Plans, tree: Path) -> None:
    plan = PLAN.replace("TREE", str(tree))
    for _ in range(3):
        code, told = plans("apply", plan, "--yes")
        assert code == 0, told
    sets, _ = find(plans.backups.store)
    assert [one.name for one in sets] == ["localhost-app"] * 2
    notes = [json.loads((plans.backups.store.root / one.ref / "VERIFIED").read_text())["level"] for one in sets]
    assert notes == ["restore", "restore"]


def test_a_database_is_backed_up_and_brought_back_by_plans(plans: Plans, tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE t AS SELECT 42 AS answer")
        database.commit()
    only = PLAN[:PLAN.index("  - id: restorable")].replace('paths: ["TREE"]', f"sqlite: {file}")
    code, told = plans("apply", only, "--yes")
    assert code == 0, told
    file.write_bytes(b"overwritten")
    back = ("plan: back\nhosts: localhost\nsteps:\n"
            "  - id: data\n    restore: {set: localhost-app, store: store, keys: [keys/recovery.key]}\n")
    code, told = plans("apply", back, "--yes")
    assert code == 0, told
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT answer FROM t").fetchone() == (42,)


def test_the_preview_of_pruning_says_what_goes(plans: Plans, tree: Path) -> None:
    made = [plans.backups.make(tree).manifest.set for _ in range(4)]
    hold(plans.backups.store, find(plans.backups.store)[0][0], "run-1", "")
    only = "plan: prune\nhosts: localhost\nsteps:\n" + PLAN[PLAN.index("  - id: few"):]
    code, told = plans("plan", only)
    assert code == 0, told
    assert f"box/{made[1]}" in told
    assert f"box/{made[0]}" not in told
    assert len(find(plans.backups.store)[0]) == 4


def test_a_backup_that_fails_fails_the_run_and_leaves_the_store_as_it_was(plans: Plans, tree: Path) -> None:
    code, told = plans("apply", PLAN.replace("TREE", f"{tree}/nothing"), "--yes")
    assert code == 1, told
    assert "is not there" in told
    assert "Traceback" not in told
    assert find(plans.backups.store) == ([], [])


def test_a_set_that_is_too_old_or_damaged_fails_the_run(plans: Plans, tree: Path) -> None:
    made = plans.backups.make(tree, name="localhost-app")
    only = "plan: proof\nhosts: localhost\nsteps:\n" + PLAN[PLAN.index("  - id: restorable"):PLAN.index("  - id: few")]
    only = only.replace('"{{ steps.safe.outputs.set }}"', "localhost-app")
    assert plans("apply", only, "--yes")[0] == 0
    code, told = plans("apply", only.replace("1h", "1ms"), "--yes")
    assert (code, "is allowed" in told) == (1, True)
    data = plans.backups.folder_of(made) / "data.tar.zst.age"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    code, told = plans("apply", only, "--yes")
    assert (code, "Traceback" in told) == (1, False), told


STATIC: dict[str, tuple[str, str]] = {
    "an empty policy": ("keep_last: 2", "nothing is kept"),
    "a store that is none": ("store: store", "no place for backups"),
    "a relative path": ('paths: ["TREE"]', "paths"),
    "two sources": ("signing_key: keys/signing.key", "several sources"),
    "no source": ('      paths: ["TREE"]\n', "not said what is backed up"),
}


@pytest.mark.parametrize(("what", "why"), STATIC.values(), ids=STATIC.keys())
def test_mistakes_are_found_before_anything_is_touched(plans: Plans, tree: Path, what: str, why: str) -> None:
    other: dict[str, str] = {"keep_last: 2": "name: box", "store: store": "store: 'ftp://x/y'",
                             'paths: ["TREE"]': "paths: [etc]", '      paths: ["TREE"]\n': "",
                             "signing_key: keys/signing.key": "signing_key: x\n      sqlite: /x/db"}
    code, told = plans("validate", PLAN.replace(what, other[what]).replace("TREE", str(tree)))
    assert (code, why in told) == (2, True), told


def test_many_hosts_of_a_store_do_not_meet(backups: Backups, tree: Path) -> None:
    """Two backups at the same moment into one store."""
    order, failures = backups.order(), []

    def work(name: str) -> None:
        from dataclasses import replace

        try:
            with linked("local-dash") as link:
                create(backups.store, HostFiles(link, [str(tree)]), replace(order, name=name))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [one.name for one in find(backups.store)[0]] == ["a", "a", "b"]
