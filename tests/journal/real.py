"""A real journal, written by the real program on local hosts, and everything that can be asked of a damaged copy of it.

Three runs are in it: one that succeeded and was then rolled back by a person, one that failed and went back by itself,
and one that was killed by SIGKILL between an effect and its OUTCOME.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.program import Program
from ultraplan.cli.main import main
from ultraplan.cli.views.story import story
from ultraplan.journal.base import JournalDamaged, JournalError
from ultraplan.journal.events import Record
from ultraplan.journal.stores import open_store

STEPS = """
- {id: config, file: {path: "{{ host.vars.root }}/config", content: "new\\n"}}
- id: count
  command: {run: "echo did >>{{ host.vars.root }}/count; exit {{ inputs.code }}"}
  undo: {command: {run: "echo undid >>{{ host.vars.root }}/count"}}
- {id: last, file: {path: "{{ host.vars.root }}/last", content: "{{ run.id }}\\n"}}
"""
INPUTS = "inputs: {code: {type: integer, default: 0}}\n"

ADVICE = re.compile(r"[Rr]estore|`ultraplan runs` lists|look at the system's log|check its owner|move it away")
"""What a message says to do; one of them is in every message about a damaged journal."""


@dataclass(frozen=True)
class Told:
    """How one command line ended, run in this process."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document it printed (the last, where it printed several)."""
        document: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return document


def told(folder: Path, *words: str) -> Told:
    """What the command line says of the state in ``folder``; raises what would be a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, "--state", str(folder), "--json"])
    return Told(code, out.getvalue(), err.getvalue())


class Real:
    """The journal, and the truth about it.

    ``closed``: the file once everything is folded into it. ``killed``: the file and its write-ahead log, as SIGKILL
    left them. ``truth``: each run's status and records; ``last``: the run that was killed.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self.program = Program(folder, cache, ("a", "b"))
        plan = self.program.plan(STEPS, head=INPUTS)
        self.program("apply", plan, "--yes")
        self.program("rollback", "last", "--yes")
        self.program("apply", plan, "--yes", "-e", "code=3", code=1)
        for host in ("a", "b"):
            self._count(host).unlink()
        self.program("apply", plan, "--yes", code=-9, env={"ULTRAPLAN_FAULT": "after-effect:4"})
        journal = self.program.state / "journal.db"
        self.killed = journal.read_bytes(), journal.with_name("journal.db-wal").read_bytes()
        store = open_store(journal)
        self.truth = {info.run: (info.status, list(store.read(info.run))) for info in store.runs()}
        self.last = store.find("last")
        store.close()
        self.closed = journal.read_bytes()
        self.shown = {run: told(self.program.state, "runs", "show", run).document for run in self.truth}
        assert [status for status, _ in self.truth.values()] == ["open", "rolled_back", "rolled_back"]

    def _count(self, host: str) -> Path:
        return self.program.root / host / "count"

    def put(self, folder: Path, journal: bytes, log: bytes | None = None) -> Path:
        """A state folder that holds these files, and nothing else."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "journal.db").write_bytes(journal)
        if log is not None:
            (folder / "journal.db-wal").write_bytes(log)
        return folder

    # -- the oracle ---------------------------------------------------------------------------------------------

    def check_list(self, folder: Path) -> str:
        """`runs`: the truth, or the word damaged, or an error that names the file and what to do."""
        answer = told(folder, "runs")
        if answer.code:
            return self._error(folder, answer)
        listed = {one["run"]: one["status"] for one in answer.document["runs"]}
        for run, status in listed.items():
            assert status == "damaged" or self.truth.get(run, ("",))[0] == status, (run, status)
        missing = [run for run in self.truth if run not in listed]
        assert not missing or "damaged" in listed.values(), f"runs that nobody misses: {missing}"
        return "damaged" if "damaged" in listed.values() else "whole"

    def check_show(self, folder: Path, run: str, *, earlier: bool = False) -> str:
        """`runs show`: exactly the truth; or its trusted beginning, and how far that goes; or an error.

        ``earlier``: the truth of an earlier moment counts as well.
        """
        answer = told(folder, "runs", "show", run)
        if answer.code and answer.document["format"] == "ultraplan/error":
            return self._error(folder, answer)
        document, records = answer.document, self.truth[run][1]
        if answer.code:
            assert document["status"] == "damaged"
            assert f"after record {document['trusted']}" in document["damage"]
            assert ADVICE.search(document["damage"]), document["damage"]
            assert document["next"] == []
        elif not earlier:
            same = set(self.shown[run]) - {"holder", "next"}  # leases carry no hash; hosts and the store refuse epochs
            assert {key: document[key] for key in same} == {key: self.shown[run][key] for key in same}
        self._check_prefix(document, records, run)
        return "damaged" if answer.code else "whole"

    def _check_prefix(self, document: dict[str, Any], records: list[Record], run: str) -> None:
        trusted: list[Record] = records[:document["trusted"]]
        info = {key: self.shown[run][key] for key in ("run", "plan", "hosts", "opened", "changed", "holder")}
        whole = story({**info, "status": document["status"]}, trusted, "" if document["damage"] else None)
        assert json.loads(json.dumps(whole["timeline"])) == document["timeline"]
        assert whole["counts"] == document["counts"]

    def check_store(self, folder: Path) -> str:
        """Reading the store itself: records are what was written, in order, up to where it says so."""
        try:
            store = open_store(folder / "journal.db")
        except JournalError:
            return "error"
        seen = "whole"
        for run, (_, records) in self.truth.items():
            found: list[Record] = []
            try:
                for record in store.read(run):
                    found.append(record)
                assert len(found) == len(records)
            except JournalDamaged as error:
                seen = "damaged"
                assert error.good in (0, len(found))
            except JournalError:
                seen = "error"
            assert found == records[:len(found)]
        with suppress(JournalError):
            store.close()
        return seen

    def check_resume(self, folder: Path) -> int:
        """`resume` of the killed run: to its end, or not at all; no command ever runs twice. Gives the exit code."""
        answer = told(folder, "resume", self.last)
        for host in ("a", "b"):
            assert self._count(host).read_text() == "did\n", answer
        if answer.code == 0:
            assert answer.document["status"] == "succeeded"
            for host in ("a", "b"):
                assert (self.program.root / host / "last").read_text() == f"{self.last}\n"
        elif answer.code == 6:  # leases carry no hash: one whose time or holder was damaged may seem to be held
            assert answer.document["kind"] == "locked", answer
        elif answer.document["format"] == "ultraplan/error":
            self._error(folder, answer)
        return answer.code

    def _error(self, folder: Path, answer: Told) -> str:
        document = answer.document
        assert (document["format"], document["kind"]) == ("ultraplan/error", "state"), answer
        assert str(folder / "journal.db") in document["message"], answer
        assert ADVICE.search(document["message"]), answer
        return "error"
