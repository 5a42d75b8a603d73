"""Golden journals: `python -m tests.journal.golden` writes the one of the present version, from real runs.

`golden/VERSION.sql` is the journal as SQL (which SQLite loads byte for byte), `golden/VERSION.json` the stories that
`runs show --json` told of its runs when it was written. Both are kept for good; every later version must read them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.cli.program import Program, wait_for
from tests.journal.real import told
from ultraplan import __version__
from ultraplan.journal.events import Noted
from ultraplan.journal.stores import open_store

FOLDER = Path(__file__).with_name("golden")
HOME = Path("/tmp/ultraplan-golden")
"""Where the run that was left open goes on: the paths are in its bundle, so they cannot be chosen later."""

STEPS = """
- {id: config, file: {path: "{{ host.vars.root }}/config", content: "new\\n", mode: "0640"}}
- {id: not-here, command: "true", when: inputs.code == 99, irreversible: it does nothing}
- {id: there, directory: "{{ host.vars.root }}"}
- id: count
  command:
    run: "echo did >>count; if test -e long; then sleep 4711; fi; exit {{ inputs.code }}"
    chdir: "{{ host.vars.root }}"
  retries: 1
  delay: 100ms
  undo: {command: {run: "echo undid >>{{ host.vars.root }}/count"}}
- {id: sure, approve: {message: "Go on with {{ host.name }}?", deadline: 5m}, when: inputs.ask}
- {id: last, file: {path: "{{ host.vars.root }}/last", content: "{{ steps.count.status }}\\n"}}
"""
HEAD = """
objectives: {rto: 15m}
inputs: {code: {type: integer, default: 0}, ask: {type: boolean, default: false}}
"""


def program(folder: Path, cache: Path) -> Program:
    """The program with two local hosts below ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Program(folder, cache, ("a", "b"))


def make(up: Program) -> None:
    """Real runs with every kind of event."""
    plan = up.plan(STEPS, head=HEAD)
    up("apply", plan, "--yes")
    up("rollback", "last", "--yes")
    up("apply", plan, "--yes", "-e", "code=3", code=1)
    _asked(up, plan)
    up("rollback", "last", "--yes")
    _doubtful(up, plan)
    up("rollback", "last", "--yes")
    up("apply", plan, "--yes", code=-9, env={"ULTRAPLAN_FAULT": "before-intent@last"})
    store = open_store(up.state / "journal.db")
    store.append(store.find("last"), [Noted(text="kept: größer, \u2028 and 字")])
    store.close()


def _asked(up: Program, plan: str) -> None:
    run = up.start("apply", plan, "--yes", "-e", "ask=true")
    waiting = {"a", "b"}
    while run.poll() is None and waiting:
        time.sleep(0.2)
        for host in sorted(waiting):
            if up("runs", "answer", "last", "yes", "--step", f"sure@{host}", code=None).returncode == 0:
                waiting.discard(host)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err


def _doubtful(up: Program, plan: str) -> None:
    """A run whose command was ended with the program, so that only a person knows."""
    count = up.root / "a" / "count"
    count.unlink(missing_ok=True)
    (up.root / "a" / "long").touch()
    run = up.start("apply", plan, "--yes", "--limit", "a")
    wait_for(count)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    receipts = [path.read_text() for path in (up.folder / "host-0").glob(f"runs/{up.last()}/*.1")]
    session, = re.findall(r"session (\d+)", "".join(receipts))
    _end_session(session)
    (up.root / "a" / "long").unlink()
    up("resume", "last", code=5)
    up("resolve", "last", "count@a", "--as", "done")
    up("resume", "last")


def _end_session(leader: str) -> None:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if fields[3] == leader:
            os.kill(int(stat.parent.name), signal.SIGKILL)
    time.sleep(0.5)


def dumped(journal: Path) -> str:
    """The journal as SQL."""
    with sqlite3.connect(journal) as db:
        return "\n".join(db.iterdump()) + "\n"


def loaded(text: str, journal: Path) -> Path:
    """The journal of `dumped`'s SQL."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(journal) as db:
        db.executescript(text)
    db.close()
    return journal


def stories(state: Path) -> dict[str, Any]:
    """What `runs show` tells of each run, but for who is at it."""
    runs = [one["run"] for one in told(state, "runs").document["runs"]]
    return {run: {key: value for key, value in told(state, "runs", "show", run).document.items() if key != "holder"}
            for run in runs}


def main() -> None:
    """Write the golden journal of this version."""
    with tempfile.TemporaryDirectory() as cache:
        up = program(HOME, Path(cache))
        make(up)
        with sqlite3.connect(up.state / "journal.db") as db:
            db.execute("DELETE FROM leases")
            db.execute("DELETE FROM locks")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{__version__}.sql").write_text(dumped(up.state / "journal.db"), encoding="utf-8")
        (FOLDER / f"{__version__}.json").write_text(
            json.dumps(stories(up.state), indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(HOME)
    print(f"wrote {FOLDER}/{__version__}.sql and .json", file=sys.stderr)


if __name__ == "__main__":
    main()
