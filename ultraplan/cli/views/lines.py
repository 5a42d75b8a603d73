"""Plain lines, for logs and pipes: one a thing that happened."""

from __future__ import annotations

import sys
import threading
import time

from ultraplan.cli.views.paint import visible_lines
from ultraplan.cli.views.words import Narration
from ultraplan.engine.run import Run
from ultraplan.journal.events import Record
from ultraplan.secrets import shown


class LinesView:
    """``HH:MM:SS  host  step  what happened``, UTC."""

    asks = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._narration = Narration()

    def attach(self, run: Run) -> None:
        pass

    def record(self, record: Record) -> None:
        for told, said in self._narration.tell(record):
            self._line(told.time, said.host, said.step, said.text)

    def tell(self, node: str, host: str, text: str) -> None:
        self._narration.noted(node, host)
        self._line(time.time(), host, node, text)

    def say(self, text: str) -> None:
        self._line(time.time(), "", "", text)

    def ask(self, question: str, deadline: float | None) -> bool:
        raise TimeoutError("there is no terminal to ask on")

    def close(self) -> None:
        for told, said in self._narration.rest():
            self._line(told.time, said.host, said.step, said.text)
        sys.stdout.flush()

    def _line(self, when: float, host: str, step: str, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.gmtime(when))
        place = f"{host:<12} {step:<16} " if host else ""
        with self._lock:
            print(f"{clock}  {visible_lines(shown(place + text))}".replace("\n", "\n          "), flush=True)
