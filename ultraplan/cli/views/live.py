"""The live view on a terminal: what happened scrolls by, and below it stands where every step and host is."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ultraplan.cli.views.paint import TONES, visible, visible_lines
from ultraplan.cli.views.progress import ACTIVE, AHEAD, ENDED, Board, Progress, Row
from ultraplan.cli.views.words import Narration, Words
from ultraplan.engine.run import Run
from ultraplan.journal.events import Record
from ultraplan.secrets import shown

EVERY = 0.25
"""Seconds between two pictures; more where drawing one takes long."""

FEW_HOSTS = 8
"""Up to so many hosts each thing that happens is told as it happens; with more, each step when it ends everywhere."""

ANSWERS = {"yes": True, "y": True, "no": False, "n": False}


class LiveView:
    """Draws on stdout, which is a terminal."""

    asks = True

    def __init__(self, color: bool, console: Console | None = None) -> None:
        self._console = console or Console(no_color=not color, highlight=False, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._run: Run | None = None
        self._lock = threading.RLock()       # what is on the screen
        self._asking = threading.Lock()      # one question at a time
        self._held: list[Text] | None = None  # lines that wait while a person is being asked
        self._left: dict[tuple[str, str], int] = {}
        self._narration = Narration()
        self._closed = threading.Event()
        self._live = self._new_live()
        self._thread = threading.Thread(target=self._draw, name="view", daemon=True)

    def _new_live(self) -> Live:
        return Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False,
                    redirect_stderr=False, get_renderable=self._picture)

    # -- what the run tells -------------------------------------------------------------------------------------

    def attach(self, run: Run) -> None:
        self._run, self._progress = run, Progress(run)
        with self._lock:
            self._live.start()
        self._thread.start()

    def record(self, record: Record) -> None:
        for told, said in self._narration.tell(record):
            if said.tone == "work":  # the picture shows what is under way
                continue
            if self._few or said.tone in ("bad", "news"):
                self._print(told.time, said)
            else:
                self._count(told, said)

    def tell(self, node: str, host: str, text: str) -> None:
        if self._progress is not None:
            self._progress.told(node, host, text)

    def say(self, text: str) -> None:
        self._print(time.time(), Words(text, "news"))

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._lock:
            self._live.stop()

    # -- lines that scroll by -----------------------------------------------------------------------------------

    @property
    def _few(self) -> bool:
        return self._run is None or len(self._run.graph.hosts) <= FEW_HOSTS

    def _count(self, record: Record, said: Words) -> None:
        """With many hosts: a line when the last of a step's hosts is through."""
        if self._run is None or said.step not in self._run.graph.nodes:
            return
        with self._lock:
            key = (said.step, getattr(record.event, "direction", "forward"))
            left = self._left.get(key, len(self._run.graph.nodes[said.step].hosts)) - 1
            self._left[key] = left
        if left == 0:
            self._print(record.time, Words(f"{said.text} on the last of its hosts", said.tone, "", said.step))

    def _print(self, when: float, said: Words) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(when))
        place = "  ".join(part for part in (said.host, said.step) if part)
        line = Text(f"{clock}  ", style="dim")
        line.append(visible(shown(place)) + ("  " if place else ""), style="default")
        line.append(visible_lines(shown(said.text)), style=TONES[said.tone])
        with self._lock:
            if self._held is not None:
                self._held.append(line)
            else:
                self._console.print(line)

    # -- the picture --------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        pause = EVERY
        while not self._closed.wait(pause):
            began = time.monotonic()
            with self._lock:
                if self._held is None:
                    self._live.refresh()
            pause = max(EVERY, 10 * (time.monotonic() - began))

    def _picture(self) -> RenderableType:
        if self._progress is None or self._closed.is_set():
            return Text("")
        width, height = self._console.size
        room = max(3, height - 3)
        all_hosts = len(self._progress.run.graph.hosts)
        return Group(*picture(self._progress.board(min(room, all_hosts)), width, room, all_hosts))

    # -- questions ----------------------------------------------------------------------------------------------

    def ask(self, question: str, deadline: float | None) -> bool:
        """Ask on the terminal; the picture pauses and lines wait meanwhile."""
        until = None if deadline is None else time.monotonic() + deadline
        while not self._asking.acquire(timeout=0.2):
            self._check(until)
        try:
            return self._asked(question, until)
        finally:
            self._asking.release()

    def _asked(self, question: str, until: float | None) -> bool:
        with self._lock:
            self._held = []
            self._live.stop()
            limit = "" if until is None else f" (within {max(0, until - time.monotonic()):.0f} s)"
            self._console.print(Text(f"\n{visible_lines(shown(question))}{limit}", style="bold"))
        try:
            while True:
                sys.stdout.write("yes or no: ")
                sys.stdout.flush()
                answer = ANSWERS.get(self._line(until).strip().lower())
                if answer is not None:
                    return answer
        finally:
            with self._lock:
                held, self._held = self._held, None
                for line in held:
                    self._console.print(line)
                if not self._closed.is_set():
                    self._live = self._new_live()  # one that was stopped believes its picture still stands there
                    self._live.start()

    def _line(self, until: float | None) -> str:
        """A line that a person types; raises TimeoutError, and the engine's `Stopped` where the run is stopped."""
        typed = b""
        while not typed.endswith(b"\n"):
            self._check(until)
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable:
                got = os.read(sys.stdin.fileno(), 1024)
                if not got:
                    raise TimeoutError("the terminal is gone")
                typed += got
        return typed.decode(errors="replace")

    def _check(self, until: float | None) -> None:
        if self._run is not None:
            self._run.sleep(0)
        if until is not None and time.monotonic() >= until:
            raise TimeoutError("nobody answered in time")


def picture(board: Board, width: int, height: int, all_hosts: int) -> list[Text]:
    """The lines of ``board`` for a terminal of this size, never more than ``height``."""
    # Where not all hosts have room, only those that are at something are worth it.
    host_rows = [row for row in board.hosts if len(board.hosts) == all_hosts or row.kind == ACTIVE]
    most_hosts = min(len(host_rows), max(1, height - 1 - min(len(board.steps), max(3, height // 2))))
    shown_hosts = host_rows[:most_hosts]
    more = all_hosts - len(shown_hosts)
    steps = folded(board.steps, max(1, height - 1 - len(shown_hosts) - (1 if more else 0)))
    names = min(max((len(row.name) for row in [*steps, *shown_hosts]), default=0), max(8, width // 3))
    lines = [_fit(Text(visible(board.head), style="bold"), width)]
    lines += [_row(row, names, width) for row in [*steps, *shown_hosts]]
    if more:
        lines.append(_fit(Text(f"    and {more} more host{'s' * (more != 1)}", style="dim"), width))
    return lines[:max(1, height)]


def folded(rows: Sequence[Row], most: int) -> list[Row]:
    """``rows`` in at most ``most`` lines: what goes on stays, what has ended before and waits after is counted."""
    if len(rows) <= most:
        return list(rows)
    active = [index for index, row in enumerate(rows) if row.kind == ACTIVE]
    first_ahead = next((index for index, row in enumerate(rows) if row.kind == AHEAD), len(rows))
    centre = active[0] if active else first_ahead
    room = max(1, most - 2)
    begin = max(0, min(centre - min(1, room // 3), len(rows) - room))
    end = begin + room
    out = list(rows[begin:end])
    for hidden, at in ((rows[:begin], 0), (rows[end:], len(out))):
        if hidden:
            kinds = {ENDED: "over", ACTIVE: "under way or in trouble", AHEAD: "to come"}
            counts = [f"{count} {word}" for kind, word in kinds.items()
                      if (count := sum(row.kind == kind for row in hidden))]
            out.insert(at if at == 0 else len(out), Row("…", f"{len(hidden)} steps", ", ".join(counts), "quiet", ENDED))
    return out[:most]


def _row(row: Row, names: int, width: int) -> Text:
    name = Text(visible(shown(row.name)))
    name.truncate(names, overflow="ellipsis", pad=True)
    line = Text(f"  {row.mark} ", style=TONES[row.tone])
    line.append_text(name)
    line.append("  ")
    line.append(visible(shown(row.text)), style=TONES[row.tone])
    return _fit(line, width)


def _fit(line: Text, width: int) -> Text:
    line.expand_tabs(4)
    line.truncate(max(1, width - 1), overflow="ellipsis")
    line.no_wrap = True
    return line
