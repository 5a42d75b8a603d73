"""The cells of the matrix, as data: what happens to a run, where, to which kind of step, and how it is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from tests.crash.plan import KINDS

VERBS = ("resume", "rollback")
PLACES = ("local", "ssh", "fleet")


@dataclass(frozen=True)
class Trouble:
    """Something that happens to a run. ``way``: the function of `tests.crash.troubles` that makes it happen.

    ``point``: a fault point; ``back``: the run is going back when it happens; ``dies``: an effect dies without leaving
    an exit code; ``serial``: hosts one after the other, where the last write has to be that of one operation.
    ``disk``: whose state is on a disk that fails (controller, host).
    """

    name: str
    way: str
    point: str = ""
    back: bool = False
    dies: bool = False
    serial: bool = False
    disk: str = ""


TROUBLES = (
    Trouble("before INTENT", "kill", "before-intent@fire"),
    Trouble("torn INTENT", "tear", "after-intent@fire", serial=True),
    Trouble("INTENT durable, no effect", "kill", "after-intent@fire"),
    Trouble("mid-effect, which ends meanwhile", "middle_ends"),
    Trouble("mid-effect, which dies too", "middle_dies", dies=True),
    Trouble("host reboot mid-effect", "reboot", dies=True),
    Trouble("effect done, no OUTCOME", "kill", "after-effect@fire"),
    Trouble("torn OUTCOME", "tear", "after-verified@fire", serial=True),
    Trouble("before VERIFIED", "kill", "before-verified@fire"),
    Trouble("after ROLLBACK_DECIDED", "kill", "after-rollback-decided", back=True),
    Trouble("before a reverse INTENT", "kill", "before-reverse-intent@UNDONE", back=True),
    Trouble("before a reverse effect", "kill", "after-reverse-intent@UNDONE", back=True),
    Trouble("in a reverse effect, which ends meanwhile", "middle_ends", back=True),
    Trouble("after a reverse effect", "kill", "after-reverse-effect@UNDONE", back=True),
)
"""What every place is tried with."""

MORE = {
    "fleet": (
        Trouble("in a reverse effect, which dies too", "middle_dies", back=True, dies=True),
        Trouble("ENOSPC on the store at OUTCOME", "store_full", "before-verified@fire", disk="controller"),
        Trouble("EIO on the store at INTENT", "store_broken", "before-intent@fire", disk="controller"),
        Trouble("power cut of the controller after the effect", "power_cut", "after-effect@fire", disk="controller"),
        Trouble("ENOSPC on a host", "host_full", disk="host"),
        Trouble("paused after INTENT, wakes during a take-over", "paused", "after-intent@fire", serial=True),
        Trouble("killed before RUN_CLOSED of a rollback", "kill", "before-close", back=True),
    ),
    "ssh": (
        Trouble("mid-effect, which still runs", "middle_runs"),
        Trouble("in a reverse effect, which still runs", "middle_runs", back=True),
        Trouble("host reboot in a reverse effect", "reboot", back=True, dies=True),
        Trouble("EIO on the host", "host_broken", disk="host"),
        Trouble("paused before INTENT, wakes after a take-over", "paused_until_over", "before-intent@fire"),
        Trouble("paused in a rollback, wakes during a take-over", "paused", "after-reverse-intent@UNDONE", back=True),
    ),
    "local": (
        Trouble("ENOSPC on the store at INTENT", "store_full", "before-intent@fire", disk="controller"),
        Trouble("ENOSPC on the store while going back", "store_full", "before-reverse-intent@UNDONE", back=True,
                disk="controller"),
        Trouble("EIO on the store at OUTCOME", "store_broken", "before-verified@fire", disk="controller"),
        Trouble("EIO on the store while going back", "store_broken", "after-reverse-effect@UNDONE", back=True,
                disk="controller"),
        Trouble("ENOSPC on the host", "host_full", disk="host"),
        Trouble("power cut of the controller after INTENT", "power_cut", "after-intent@fire", disk="controller"),
        Trouble("power cut of the controller in a rollback", "power_cut", "after-reverse-effect@UNDONE", back=True,
                disk="controller"),
        Trouble("paused after INTENT, wakes after a take-over", "paused_until_over", "after-intent@fire"),
        Trouble("paused after the effect, wakes during a take-over", "paused", "after-effect@fire"),
        Trouble("mid-effect, which still runs", "middle_runs"),
        Trouble("in a reverse effect, which dies too", "middle_dies", back=True, dies=True),
        Trouble("torn reverse INTENT", "tear", "after-reverse-intent@UNDONE", back=True),
        Trouble("the last try failed, nothing decided", "kill_failing", "after-outcome@last"),
        Trouble("second kill, while a receipt is asked for", "kill_asking", "after-effect@fire"),
        Trouble("second and third kill, at what comes next", "kill_thrice", "after-effect@line"),
        Trouble("killed before RUN_CLOSED", "kill", "before-close"),
    ),
}
"""What is tried in one place only, because it is the same everywhere, or takes long."""

def recovery_writes(verb: str, place: str, kind: str) -> range | tuple[int, ...]:
    """Before which writes of its own journal a recovery is killed too: on one host before every one that it has for
    sure. What ends well is written together where it comes in together, and past what burned there is no way back."""
    if place != "local":
        return (2, 3)
    return range(1, 6 if verb == "resume" else 5 if kind == "irreversible" else 12)


@dataclass(frozen=True)
class Cell:
    """One cell. ``write``: the recovery is killed before this write of its own, and gone on with again."""

    trouble: Trouble
    verb: str
    place: str
    kind: str
    write: int = 0

    def __str__(self) -> str:
        return f"{self.trouble.name}, {self.verb}, {self.place}, {self.kind}"

    @property
    def undone(self) -> str:
        """The counted step whose undo gets into trouble: what burned has none."""
        return "last" if self.kind == "irreversible" else "fire"

    @property
    def opaque(self) -> bool:
        """Whether nobody can see if the effect in trouble happened."""
        return self.kind != "idempotent"


def cells() -> Iterator[Cell]:
    """Every cell, in the order of the table."""
    for trouble in TROUBLES:
        for place, verb, kind in product(PLACES, VERBS, KINDS):
            yield Cell(trouble, verb, place, kind)
    for place, troubles in MORE.items():
        for trouble, verb, kind in product(troubles, VERBS, KINDS):
            yield Cell(trouble, verb, place, kind)
    for write in range(1, 12):
        trouble = Trouble(f"second kill, at write {write} of the recovery", "second_kill", "after-effect@fire")
        for place, verb, kind in product(PLACES, VERBS, KINDS):
            if write in recovery_writes(verb, place, kind):
                yield Cell(trouble, verb, place, kind, write)
