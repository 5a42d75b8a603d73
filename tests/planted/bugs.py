"""Bugs of the protocol, put in on purpose. Each is a few replacements in the package's text, and the tests that are
fast and about it. A replacement whose text is not there exactly once is an error: the list is kept up with the code.
"""

from __future__ import annotations

from dataclasses import dataclass

SIMULATION = "tests/simulation/test_simulation.py::test_every_invariant_holds_in_ten_thousand_worlds"
ENGINE, JOURNAL, SHELL = "ultraplan/engine", "ultraplan/journal", "ultraplan/shell/lib"


@dataclass(frozen=True)
class Bug:
    """``edits``: file, text, what takes its place. ``tests``: what pytest is given."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


def cell(name: str) -> str:
    """The test that runs one cell of the crash matrix."""
    return f"tests/crash/test_crash.py::test_every_cell_of_the_matrix_is_right[{name}]"


def sample(name: str) -> str:
    """The same for a cell of the sample."""
    return f"tests/crash/test_crash.py::test_a_sample_of_the_matrix_is_right[{name}]"


SIMULATED = (f"{SIMULATION}[0]",)

BUGS = (
    Bug("the journal is not flushed to the disk", (
        (f"{JOURNAL}/database.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),
    ), (sample("power cut of the controller after INTENT, resume, local, reversible"),)),
    Bug("OUTCOME is written before the effect", (
        (f"{ENGINE}/ahead.py", "events = [[*member.prepared, member.intent] for",
         "events = [[*member.prepared, member.intent, Outcome(**member.operation.about, ok=True, attempt="
         "member.intent.attempt)] for"),
        (f"{ENGINE}/ahead.py", "import AnyEvent, InDoubt, Intent", "import AnyEvent, InDoubt, Intent, Outcome"),
    ), (cell("mid-effect, which dies too, rollback, local, reversible"),)),
    Bug("a host does not look at the epoch", (
        (f"{SHELL}/10-receipts.sh", '[ "$up_e" -gt "$2" ] || return 0', "return 0"),
    ), ("tests/engine/test_receipts.py",
        cell("paused after INTENT, wakes after a take-over, resume, local, reversible"))),
    Bug("the store does not look at the epoch", (
        (f"{JOURNAL}/leases.py",
         'if db.execute("SELECT 1 FROM leases WHERE epoch = ?", (lease.epoch,)).fetchone() is None:', "if False:"),
    ), ("tests/conformance/test_store.py",)),
    Bug("what ran is undone in the plan's order, not in the one in which it ran", (
        (f"{ENGINE}/unwind.py", "for key in sorted(self._seq, key=lambda key: self._seq[key]):\n            by_host",
         "for key in sorted(self._seq, key=lambda key: list(self._shape.nodes).index(key[0])):\n            by_host"),
    ), ("tests/engine/test_conduct.py", *SIMULATED)),
    Bug("a receipt's exit code is not written", (
        (f"{SHELL}/10-receipts.sh", '''    up_rc=$?
    echo "exit $up_rc" >>"$up_receipt"
''', "    up_rc=$?\n"),
    ), ("tests/engine/test_receipts.py",)),
    Bug("a receipt can be claimed twice", (
        (f"{SHELL}/10-receipts.sh", "  set -C\n", ""),
    ), ("tests/engine/test_receipts.py",)),
    Bug("failures are counted against the hosts that are left", (
        (f"{ENGINE}/losses.py", "lost = {host: failure for host, failure in self._taken.items() if host in batch}\n",
         "batch, lost = batch - self._taken.keys(), dict[str, Failed]()\n"),
    ), ("tests/engine/test_conduct.py", *SIMULATED)),
    Bug("an effect is run again without asking its receipt", (
        (f"{ENGINE}/forward.py", "and self._adopt(session, resolved, step):", "and False:"),
    ), (cell("effect done, no OUTCOME, resume, local, irreversible"),)),
    Bug("attempts are not counted", (
        (f"{ENGINE}/run.py", "return self._attempts.get((op, direction), 0) + 1", "return 1"),
    ), (cell("mid-effect, which dies too, resume, local, idempotent"),)),
    Bug("dependents start before VERIFIED", (
        (f"{ENGINE}/conduct.py", "if now in SETTLED and before not in SETTLED and event.host not in self.unwinding:",
         "if (now in SETTLED or now is OpState.DONE) and before not in SETTLED and event.host not in self.unwinding:"),
    ), ("tests/engine/test_conduct.py", *SIMULATED)),
    Bug("the way back is written after the effect", (
        (f"{ENGINE}/ahead.py", "events = [[*member.prepared, member.intent] for",
         "events = [[*member.prepared[:1], member.intent] for"),
        (f"{ENGINE}/ahead.py", "self._over.append((member, operation.verification(",
         "self._over.append((member, member.prepared[1:] + operation.verification("),
        (f"{ENGINE}/states.py", '    (OpState.STARTED, "unchanged"): OpState.UNCHANGED,',
         '    (OpState.STARTED, "unchanged"): OpState.UNCHANGED, (OpState.STARTED, "intent"): OpState.INTENT,'),
    ), (cell("effect done, no OUTCOME, rollback, local, reversible"),)),
    Bug("an effect may begin after the rollback was decided", (
        (f"{ENGINE}/conduct.py", "            return False\n        draining = self._draining()\n",
         "            return True\n        draining = frozenset()\n"),
        (f"{ENGINE}/conduct.py", "or any(hosts is None or key[1] in hosts for key in self._busy)", ""),
        (f"{ENGINE}/conduct.py", "if event.host in self.unwinding:\n                    raise ProtocolError(",
         "if False:\n                    raise ProtocolError("),
    ), SIMULATED),
    Bug("a lease never runs out", (
        (f"{JOURNAL}/leases.py", "if age <= other_ttl:", "if True:"),
    ), ("tests/conformance/test_store.py",)),
    Bug("a lease is taken from a holder who lives", (
        (f"{JOURNAL}/leases.py", "if age <= other_ttl:", "if age < 0:"),
    ), ("tests/conformance/test_store.py",)),
    Bug("an undo does not look whether somebody else changed it since", (
        (f"{ENGINE}/backward.py", "if not begun and left is not None and now != left and step.guards_undo:",
         "if False:"),
    ), ("tests/steps/test_third_party.py::test_it_is_not_undone_over_what_somebody_else_changed",)),
    Bug("what could not be undone is not reported", (
        (f"{ENGINE}/unwind.py", "if state in (OpState.FAILED, OpState.LEFT, OpState.IN_DOUBT)]\n\n    @property\n"
         "    def stuck", "if state is OpState.FAILED]\n\n    @property\n    def stuck"),
    ), ("tests/engine/test_conduct.py", *SIMULATED)),
    Bug("an effect that failed is not noticed", (
        (f"{ENGINE}/forward_operation.py",
         "problem = _effect_failed(program, ended.reply) or step.verify(resolved.params, state, ended.reply)",
         "problem = _effect_failed(program, ended.reply)"),
    ), (cell("after ROLLBACK_DECIDED, resume, local, reversible"),)),
    Bug("a file whose pre-image is a link to it is overwritten in place", (
        (f"{SHELL}/20-files.sh", 'mv -fT -- "$1" "$2" 2>/dev/null ||',
         'cat <"$1" >"$2" && rm -f -- "$1" ||'),
    ), (sample("after a reverse effect, rollback, local, idempotent"),)),
    Bug("tries are forgotten in a crash", (
        (f"{ENGINE}/run.py", "self._spent[event.op] = self._spent.get(event.op, 0) + 1", "pass"),
    ), (cell("the last try failed, nothing decided, resume, local, reversible"),)),
    Bug("an undo that ended is run again", (
        (f"{ENGINE}/backward.py", "if now == prepared.before and (done or unneeded):",
         "if now == prepared.before and unneeded:"),
    ), (sample("after a reverse effect, rollback, local, idempotent"),)),
    Bug("an undo is run though nobody knows whether there is anything to undo", (
        (f"{ENGINE}/backward.py",
         'if began is None and "undo" in reverse and not self._was_armed(session, resolved):', "if False:"),
    ), (cell("mid-effect, which dies too, rollback, local, reversible"),)),
)
