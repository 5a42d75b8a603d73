"""One JSON object a line while a run goes on."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import msgspec

from ultraplan.engine.run import Run
from ultraplan.journal.events import Record
from ultraplan.secrets import shown


class NdjsonView:
    """``{"format": "ultraplan/event", "version": 1, "seq", "time", "event": {"type", …}}`` a line."""

    asks = False

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def attach(self, run: Run) -> None:
        pass

    def record(self, record: Record) -> None:
        event = {key: value for key, value in msgspec.to_builtins(record.event).items() if key != "reverse"}
        self._line({"format": "ultraplan/event", "version": 1, "seq": record.seq, "time": record.time, "event": event})

    def tell(self, node: str, host: str, text: str) -> None:
        self._line({"format": "ultraplan/note", "version": 1, "node": node, "host": host, "text": text})

    def say(self, text: str) -> None:
        self._line({"format": "ultraplan/note", "version": 1, "text": text})

    def ask(self, question: str, deadline: float | None) -> bool:
        raise TimeoutError("nobody can be asked while the output is JSON")

    def close(self) -> None:
        pass

    def _line(self, value: dict[str, Any]) -> None:
        with self._lock:
            sys.stdout.write(shown(json.dumps(value, ensure_ascii=False)) + "\n")
            sys.stdout.flush()
