"""Views subscribe to a run's events; they are all that knows how things look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ultraplan.journal.events import Record

if TYPE_CHECKING:
    from ultraplan.engine.run import Run


class View(Protocol):
    """Shows a run while it goes on. Called from several threads."""

    def attach(self, run: Run) -> None:
        """The run that is shown, right before it starts."""

    def record(self, record: Record) -> None:
        """A durable event."""

    def tell(self, node: str, host: str, text: str) -> None:
        """Something passing about an operation."""

    def say(self, text: str) -> None:
        """Something about the whole run."""

    asks: bool
    """Whether a person can be asked here."""

    def ask(self, question: str, deadline: float | None) -> bool:
        """A person's yes or no; raises TimeoutError where nobody answers in time (``deadline``: seconds from now)."""

    def close(self) -> None:
        """The run ended. May be called twice."""
