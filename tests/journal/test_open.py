"""Where the state store is, as a person writes it; and who holds a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ultraplan.journal.base import JournalError
from ultraplan.journal.holder import alive, boot_id, describe, holder
from ultraplan.journal.stores import open_store

_SAY = [sys.executable, "-c", "from ultraplan.journal.holder import holder; print(holder())"]


@pytest.mark.parametrize("form", ["{}", "sqlite://{}", "SQLite://{}"])
def test_a_path_or_its_url_opens_the_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "journal.sqlite"
    store = open_store(form.format(path))
    store.close()
    assert path.is_file()


@pytest.mark.parametrize(("where", "message"), [
    ("redis://localhost/0", "no store of the kind redis://"), ("sqllite:///x", "sqlite://"),
    ("", "names no file"), ("sqlite://", "names no file"), ("/tmp", "is a folder"),
])
def test_what_is_no_store_is_refused_with_what_would_be_one(where: str, message: str) -> None:
    with pytest.raises(JournalError, match=message):
        open_store(where)


def test_this_process_is_alive_and_says_who_it_is() -> None:
    me = holder()
    assert alive(me) is True
    assert f"process {os.getpid()}" in describe(me)
    assert boot_id() not in describe(me)


def test_a_process_that_ended_or_whose_pid_was_recycled_is_dead() -> None:
    ended = subprocess.run(_SAY, capture_output=True, text=True, check=True).stdout.strip()
    assert alive(ended) is False
    me = holder()
    start = me.rpartition(".")[2].rstrip("]")
    assert alive(me.replace(f".{start}]", f".{int(start) - 1}]")) is False


def test_a_process_nobody_waited_for_is_dead() -> None:
    child = subprocess.Popen(_SAY, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    text = child.stdout.read().strip()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert alive(text) is False
    child.wait()


def test_an_earlier_boot_of_this_machine_is_dead_and_other_machines_are_unknown() -> None:
    me = holder()
    earlier = me.replace(boot_id(), "0" * 12)
    known = Path("/etc/machine-id").exists()
    assert alive(earlier) is (False if known else None)
    assert alive(earlier.replace("@", "@not-")) is None


@pytest.mark.parametrize("text", [
    "", "somebody", "a@b process x [1.2.3.4]", "a@b process 1 [m..n.5]", "é\n"])
def test_a_text_of_some_other_form_is_unknown(text: str) -> None:
    assert alive(text) is None
    assert describe("somebody") == "somebody"


def test_another_pid_namespace_is_unknown() -> None:
    me = holder()
    parts = me.rpartition("[")[2].split(".")
    assert alive(me.replace(parts[2], "1")) is None
