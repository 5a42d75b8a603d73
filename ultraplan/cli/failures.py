"""From an exception to what a person reads and the exit code a program reads. No traceback for what users can cause."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

STATUS_CODES = {"succeeded": 0, "failed": 1, "rolled_back": 1, "rolled_back_in_part": 4, "rollback_incomplete": 4,
                "paused": 5, "interrupted": 130}
"""Exit code by the status a run was closed with."""

FAILED, USAGE, STALE, LOCKED, INTERRUPTED = 1, 2, 3, 6, 130


def explained(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a verb; tell its failure on stderr (with ``--json``: as a JSON object on stdout) and give the exit code."""
    try:
        return run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # threads that still wait for a silent host would hold an ordinary exit up
    except BrokenPipeError:
        raise
    except Exception as error:
        told = _explain(error)
        if told is None:
            raise
        code, kind, message, extra = told
        if getattr(args, "json", False):
            print(json.dumps({"format": "ultraplan/error", "version": 1, "kind": kind, "message": message, **extra}))
        else:
            print(message, file=sys.stderr)
        return code


def _explain(error: Exception) -> tuple[int, str, str, dict[str, Any]] | None:
    from ultraplan.backup.errors import BackupError, Refused
    from ultraplan.engine.receipts import Fenced
    from ultraplan.engine.runs import NotPossible
    from ultraplan.engine.saved import NotASavedPlan, Stale
    from ultraplan.inventory.patterns import PatternError
    from ultraplan.journal.base import JournalError, LeaseLost, Locked
    from ultraplan.language.errors import SourceError
    from ultraplan.secrets import SecretError
    from ultraplan.steps.registry import BadStepPackage
    from ultraplan.transport.base import TransportError

    match error:
        case SourceError():
            count = len(error.diagnostics)
            found = [{"code": one.code, "message": one.message, "at": str(one.at) if one.at else None,
                      "hint": one.hint} for one in error.diagnostics]
            return (USAGE, "source", f"{error}\n\n{count} mistake{'s' * (count != 1)}; nothing was touched",
                    {"diagnostics": found})
        case Stale():
            rows = "\n".join(f"  - {line}" for line in error.moved)
            return (STALE, "stale", f"the saved plan is stale; nothing was touched. What moved:\n{rows}\n"
                    "make a new plan: ultraplan plan … -o FILE", {"moved": error.moved})
        case Locked():
            return (LOCKED, "locked", f"{error}\nwait for it, or see what it does: ultraplan runs show {error.run}",
                    {"run": error.run, "holder": error.holder})
        case LeaseLost():
            return (LOCKED, "lease-lost", f"{error}\nanother process took this run over; this one stopped", {})
        case Fenced():
            return (LOCKED, "fenced", f"{error.host}: {error}\nanother run works on this host; this one stopped, and"
                    " did nothing there since", {"host": error.host})
        case TransportError():
            hint = f"\n{error.hint}" if error.hint else ""
            return FAILED, "transport", f"{error.host}: {error}{hint}", {"host": error.host}
        case BackupError():
            hint = f"\n{error.hint}" if error.hint else ""
            return (USAGE, "refused", f"{error}{hint}", {}) if isinstance(error, Refused) else (
                FAILED, "backup", f"{error}{hint}", {})
        case PatternError():
            hint = f"\n{error.hint}" if getattr(error, "hint", None) else ""
            return USAGE, "pattern", f"{error}{hint}", {}
        case BadStepPackage():
            return USAGE, "package", f"{error}\nuninstall or repair it; nothing was touched", {}
        case NotPossible() | NotASavedPlan():
            return USAGE, "usage", str(error), {}
        case JournalError() | SecretError():
            return FAILED, "state", str(error), {}
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return FAILED, "system", f"{where}{error.strerror or error}", {}
        case _:
            return None
